"""A policy's README.md in the hub's format: what it was made from and how, what was measured, its limits and licence."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from hh_align.analysis.ratings import headline
from hh_align.analysis.text_gate import caveat_over_seeds, read_text
from hh_align.core.artifacts import read_table, say, write_text
from hh_align.core.axes import RATE_MEANINGS
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.report.pages import plain, render_text, with_values

if TYPE_CHECKING:
    from huggingface_hub import ModelCard, ModelCardData


def measured(metrics: pd.DataFrame, judge: str, policy: str, seed: int) -> list[dict]:
    """The rows of HmR, HpR and CAS of one policy and seed."""
    rows = metrics[(metrics["judge"] == judge) & (metrics["policy"] == policy) & (metrics["seed"] == seed)]
    return [row for row in plain(rows) if row["metric"] in RATE_MEANINGS]


def root_rows(metrics: pd.DataFrame, judge: str, root: str) -> dict[str, dict]:
    """metric -> row of the policy that all others come from."""
    return {row["metric"]: row for row in plain(headline(metrics, judge).reset_index()) if row["policy"] == root}


def metadata(config: dict, results: dict[str, list[dict]]) -> "ModelCardData":
    """The card's YAML. A base model or dataset without a place on the hub is not named there."""
    from huggingface_hub import EvalResult, ModelCardData

    evaluated = config["datasets"][0] if config["datasets"] else config["study"]
    return ModelCardData(
        model_name=f"{config['study']}-{config['policy']}-seed-{config['seed']}",
        base_model=config["base"],
        datasets=config["datasets"] or None,
        language="en",
        library_name="transformers",
        pipeline_tag="text-generation",
        license="other",
        license_name="notice",
        license_link="NOTICE",
        tags=["alignment", *dict.fromkeys(step["trainer"] for step in config["lineage"])],
        eval_results=[
            EvalResult(
                task_type="text-generation",
                dataset_type=evaluated,
                dataset_name=f"{row['n']:.0f} prompts, judge {judge}",
                metric_type=row["metric"],
                metric_name=RATE_MEANINGS[row["metric"]],
                metric_value=round(row["value"], 2),
            )
            for judge, rows in results.items()
            for row in rows
        ],
    )


def card(config: dict, folder: Path, metrics: pd.DataFrame, template: Path, caveat: str | None = None) -> "ModelCard":
    """The card of the policy in `folder`; caveat: what stands against its text. Raises StudyError where nothing was measured of it."""
    from huggingface_hub import ModelCard

    policy, seed = config["policy"], config["seed"]
    results = {judge: measured(metrics, judge, policy, seed) for judge in sorted(config["judges"])}
    if not all(results.values()):
        raise StudyError(f"{policy}, seed {seed}: the metrics hold no row of it. Delete the metrics; the next run rebuilds them.")
    log = read_table(folder / "train_log.parquet", ["step", "examples", "tokens", "cut_tokens", "loss"]).to_pandas()
    body = render_text(
        template,
        config=config,
        results=results,
        caveat=caveat,
        base={judge: root_rows(metrics, judge, config["root"]) for judge in results},
        last=log.iloc[-1].to_dict() | {"mean": log["loss"].mean()},
        notice=(folder / "NOTICE").read_text(encoding="utf-8").strip(),
        weights=json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["model.safetensors"],
    )
    return ModelCard(f"---\n{metadata(config, results).to_yaml()}\n---\n\n{body}")


def main() -> None:
    args = parse(__doc__, config="config", manifest="path", metrics="path", text="path", template="path", output="path", values="text?")
    told = caveat_over_seeds([row for key, row in read_text(args.text).items() if key == (args.config["policy"], args.config["seed"])])
    model_card = card(
        with_values(args.config, args.values), args.manifest.parent, read_table(args.metrics).to_pandas(), args.template, told
    )
    write_text(args.output, model_card.content)
    say(f"{args.output}: `hf upload <repository> {args.manifest.parent}` publishes it with the weights")


if __name__ == "__main__":
    run(main)
