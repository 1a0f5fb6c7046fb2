"""The study in a page of the terminal: rates beside the published ones, what is decided, and where the report lies."""

from pathlib import Path

import pandas as pd
import yaml

from hh_align.analysis.text_gate import FLAGS, caveat_of
from hh_align.core.artifacts import read_table, say, write_text
from hh_align.core.command import parse, run
from hh_align.core.errors import printable
from hh_align.report import kept
from hh_align.report.terminal import Study, ending

PAGES = "The report: {folder}/index.html"


def caveats(text: pd.DataFrame, config: dict) -> dict[str, str]:
    """Policy -> what stands against its text, of those with any."""
    examined = {(row["policy"], row["seed"]): row for row in text.to_dict("records")}
    told = {policy: caveat_of(examined, config, policy, config["seeds"]) for policy in config["order"]}
    return {policy: caveat for policy, caveat in told.items() if caveat}


def frame(path: Path | None, columns: list[str]) -> pd.DataFrame:
    """An analysis table; without rows where the study has none."""
    return read_table(path, columns).to_pandas() if path else pd.DataFrame(columns=columns)


def summary(config: dict, tables: dict[str, pd.DataFrame], published: dict, look: str = PAGES) -> str:
    """The page as text; `published`: policy -> metric -> the paper's value; `look` says what there is in {folder}, the report's."""
    lines = ending(Study(config, tables, published, caveats(tables["text"], config), look))
    return "\n".join(map(printable, lines)) + "\n"


COLUMNS = {
    "metrics": ["judge", "policy", "seed", "metric", "value", "n", "ci_low", "ci_high"],
    "comparisons": [
        "judge",
        "seed",
        "policy_a",
        "policy_b",
        "metric",
        "family",
        "difference",
        "sim_low",
        "sim_high",
        "judge_above_chance",
        "verdict",
        "within_margin",
        "caveat_a",
        "caveat_b",
    ],
    "retention": kept.COLUMNS,
    "gold": [
        *("judge", "seed", "policy_a", "policy_b", "metric", "labelled", "skipped", "judge_value", "corrected"),
        *("ci_low", "ci_high", "sim_low", "sim_high", "verdict", "within_margin", "skip_low", "skip_high", "skip_verdicts"),
    ],
    "judge": ["judge", "axis", "subset", "format", "part", "own_subset", "n", "accuracy", "ci_low", "ci_high"],
    "label_agreement": ["rater_a", "rater_b", "axis", "policy", "n", "agreement", "kappa"],
    "pairwise": ["judge", "policy_b", "axis", "inconsistency", "decided", "first", "first_low", "first_high"],
    "text": ["policy", "seed", *FLAGS, *(why for why, _ in FLAGS.values())],
}


def main() -> None:
    required = dict.fromkeys(("metrics", "comparisons", "retention", "published", "output"), "path")
    optional = dict.fromkeys(("judge", "gold", "label_agreement", "pairwise", "text"), "path?")
    args = parse(__doc__, config="config", **required, **optional)
    tables = {name: frame(getattr(args, name), columns) for name, columns in COLUMNS.items()}
    published = yaml.safe_load(args.published.read_text())["policies"] if args.config["compare_published"] else {}
    write_text(args.output, summary(args.config, tables, published))
    say(f"summary: {args.output}")


if __name__ == "__main__":
    run(main)
