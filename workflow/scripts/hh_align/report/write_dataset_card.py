"""A dataset's README.md in the hub's format: where its pairs come from, how many of each kind there are, what could not be read."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from hh_align.core.artifacts import read_table, say, write_text
from hh_align.core.command import parse, run
from hh_align.report.pages import render_text, with_values

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard

SIZES = {"n<1K": 1e3, "1K<n<10K": 1e4, "10K<n<100K": 1e5, "100K<n<1M": 1e6}  # the hub's words
LICENSES = {"Anthropic/hh-rlhf": "mit"}  # as the dataset's own card says


def size_category(rows: int) -> str:
    """The hub's word for a number of rows."""
    return next((name for name, limit in SIZES.items() if rows < limit), "1M<n<10M")


def card(
    config: dict, preferences: pd.DataFrame, quarantine: pd.DataFrame | None, template: Path, census: pd.DataFrame | None = None
) -> "DatasetCard":
    """The card of one dataset of a study; `census` is what each step of a derived one dropped."""
    from huggingface_hub import DatasetCard, DatasetCardData

    data = DatasetCardData(
        language="en",
        license=LICENSES.get(config["repo"], "unknown" if config["repo"] else "other"),
        pretty_name=f"{config['dataset']} of the study {config['study']}",
        size_categories=[size_category(len(preferences))],
        source_datasets=[config["repo"]] if config["repo"] else None,
        tags=["preferences", "alignment"],
        configs=[{"config_name": "default", "data_files": "preferences.parquet"}],
    )
    counts = preferences.groupby(["split", "subset"], sort=False).agg(rows=("row", "count"), sft=("use_sft", "sum"), dpo=("use_dpo", "sum"))
    body = render_text(
        template,
        config=config,
        parts=counts.reset_index().to_dict("records"),
        flags=preferences["flags"].explode().dropna().value_counts().sort_index().to_dict(),
        steps=census.groupby(["step", "reason"], sort=False)[["before", "dropped", "after"]].sum().reset_index().to_dict("records")
        if census is not None
        else [],
        reasons=quarantine["reason"].value_counts().sort_index().to_dict() if quarantine is not None else {},
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def main() -> None:
    args = parse(
        __doc__, config="config", preferences="path", quarantine="path?", census="path?", template="path", output="path", values="text?"
    )
    preferences = read_table(args.preferences, ["split", "subset", "row", "flags", "use_sft", "use_dpo"]).to_pandas()
    quarantine = read_table(args.quarantine, ["reason"]).to_pandas() if args.quarantine else None
    census = read_table(args.census, ["step", "reason", "before", "dropped", "after"]).to_pandas() if args.census else None
    dataset_card = card(with_values(args.config, args.values), preferences, quarantine, args.template, census)
    write_text(args.output, dataset_card.content)
    say(f"{args.output}: {len(preferences):,} rows")


if __name__ == "__main__":
    run(main)
