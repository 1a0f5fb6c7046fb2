"""Every prompt with the responses of all policies, rewards and labels, as one HTML page that needs nothing else."""

import base64
import hashlib
import json
from pathlib import Path

from markupsafe import Markup

from hh_align.analysis.ratings import Ratings, checkpoints, read_ratings, seeds_of
from hh_align.core.artifacts import read_table, say, write_text
from hh_align.core.axes import AXES
from hh_align.core.command import parse, run
from hh_align.report.colours import colours
from hh_align.report.pages import render


def collect(config: dict, prompts: list[dict], responses: dict[tuple[str, int], list[dict]], ratings: Ratings) -> dict:
    """What the page shows, in columns: lists run over the prompts in drawn order, for each policy over its seeds, for each judge over the policies (scores and labels are null on an axis that it does not judge).

    responses: (policy, seed) -> rows of its table. A policy without a parent has one seed's lists for all.
    """
    order = config["order"]
    texts = {checkpoint: {row["prompt_id"]: row for row in responses[checkpoint]} for checkpoint in checkpoints(config)}
    opinions = {
        (name, *key): dict(zip(frame["prompt_id"], frame[name].tolist(), strict=True))
        for name in ("reward", "label")
        for key, frame in ratings.items()
    }

    def column(policy: str, name: str) -> list[list]:
        return [[texts[policy, seed][row["prompt_id"]][name] for row in prompts] for seed in seeds_of(config, policy)]

    def told(name: str, judge: str) -> list[list[list]]:
        return [[[opinions.get((name, judge, policy, seed, row["axis"]), {}).get(row["prompt_id"]) for row in prompts]
                 for seed in seeds_of(config, policy)] for policy in order]  # fmt: skip

    parents = [config["policies"][policy]["parent"] for policy in order]
    return {
        "seeds": config["seeds"],
        "policies": order,
        "parents": [None if parent is None else order.index(parent) for parent in parents],
        "judges": [{"name": judge, "rewards": told("reward", judge), "labels": told("label", judge)} for judge in config["judges"]],
        "ids": [row["prompt_id"] for row in prompts],
        "axes": [AXES.index(row["axis"]) for row in prompts],
        "prompts": [row["prompt"] for row in prompts],
        "responses": [column(policy, "response") for policy in order],
        "tokens": [column(policy, "response_tokens") for policy in order],
        "finish": [column(policy, "finish") for policy in order],
    }


def embedded(data: dict) -> Markup:
    """JSON for a script element: nothing in it can end the element or begin a comment."""
    return Markup(json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def page(config: dict, data: dict, templates: Path) -> str:
    """The page as HTML; only its own script may run in it."""
    script = (templates / "browser.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    shown = {"config": config, "several": {"judge": len(config["judges"]) > 1, "seed": len(config["seeds"]) > 1}}
    return render(
        templates, "browser.html", data=embedded(data), script=Markup(script), digest=digest, colours=colours(config["order"]), **shown
    )


def main() -> None:
    args = parse(__doc__, config="config", prompts="path", responses="paths", ratings="path", templates="path", output="path")
    prompts = read_table(args.prompts, ["axis", "prompt_id", "prompt"]).to_pylist()
    responses = {
        checkpoint: read_table(path, ["prompt_id", "response", "response_tokens", "finish"]).to_pylist()
        for checkpoint, path in zip(checkpoints(args.config), args.responses, strict=True)
    }
    data = collect(args.config, prompts, responses, read_ratings(args.ratings).ratings)
    write_text(args.output, page(args.config, data, args.templates))
    say(f"{len(prompts):,} prompts, {len(args.config['order'])} policies: {args.output}")


if __name__ == "__main__":
    run(main)
