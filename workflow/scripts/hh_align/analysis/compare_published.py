"""Our metrics beside the published ones: is the published value within our interval?"""

import pandas as pd
import pyarrow as pa
import yaml

from hh_align.analysis.ratings import headline
from hh_align.analysis.text_gate import caveat_of, read_text
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run

AGREEMENT = pa.schema(
    [
        ("judge", pa.string()),
        ("metric", pa.string()),
        ("policy", pa.string()),
        ("ours", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("published", pa.float64()),
        ("inside", pa.bool_()),
        ("caveat", pa.string()),
    ]
)


def compare_with_published(metrics: pd.DataFrame, published: dict[str, dict], judge: str, order: list[str]) -> list[dict]:
    """One row per published number of a policy that the study has and the judge tells. inside: the interval of ours holds it; null without an interval."""
    rows, ours = [], headline(metrics, judge)
    for policy in order:
        numbers = published.get(policy, {})
        for metric, value in ((name, value) for name, value in numbers.items() if (policy, name) in ours.index):
            row = ours.loc[(policy, metric)]
            bounds = {key: None if pd.isna(row[key]) else float(row[key]) for key in ("ci_low", "ci_high")}
            inside = None if None in bounds.values() else bounds["ci_low"] <= value <= bounds["ci_high"]
            about = {"judge": judge, "metric": metric, "policy": policy}
            rows.append({**about, "ours": float(row["value"]), **bounds, "published": float(value), "inside": inside})
    return rows


def main() -> None:
    args = parse(__doc__, config="config", metrics="path", text="path?", published="path", output="path")
    metrics = read_table(args.metrics, ["judge", "policy", "seed", "metric", "value", "ci_low", "ci_high"]).to_pandas()
    published = yaml.safe_load(args.published.read_text())["policies"]
    config, examined = args.config, read_text(args.text)
    rows = [row for judge in sorted(config["judges"]) for row in compare_with_published(metrics, published, judge, config["order"])]
    rows = [row | {"caveat": caveat_of(examined, config, row["policy"], config["seeds"])} for row in rows]
    say(f"{sum(bool(row['inside']) for row in rows)} of {len(rows)} published numbers lie within our intervals")
    write_table(args.output, rows, AGREEMENT, provenance(config, [args.metrics, args.published, *([args.text] if args.text else [])]))


if __name__ == "__main__":
    run(main)
