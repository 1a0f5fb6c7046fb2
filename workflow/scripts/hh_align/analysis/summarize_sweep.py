"""What a sweep's arms reach, beside the settings that they differ in."""

import pandas as pd
import pyarrow as pa

from hh_align.core.artifacts import provenance, read_table, write_table
from hh_align.core.axes import MEANS, RATE_METRICS
from hh_align.core.command import parse, run

SWEEP = pa.schema(
    [
        ("judge", pa.string()),
        ("swept", pa.string()),
        ("policy", pa.string()),
        ("key", pa.string()),
        ("setting", pa.string()),
        ("number", pa.float64()),
        ("seed", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("n", pa.int64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("estimand", pa.string()),
    ]
)


def gather(metrics: pd.DataFrame, arms: dict[str, dict]) -> list[dict]:
    """One row per arm, swept key and row of metrics on rates, CAS and mean rewards. arms: policy -> {of, settings: {method.key: value}}."""
    wanted = metrics[metrics["metric"].isin([*RATE_METRICS, *MEANS.values()])]
    rows = []
    for policy, arm in arms.items():
        for row in wanted[wanted["policy"] == policy].to_dict("records"):
            known = {name: None if pd.isna(value) else value for name, value in row.items()}
            for key, value in arm["settings"].items():
                number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
                rows.append({**known, "swept": arm["of"], "key": key, "setting": str(value).lower(), "number": number})
    return sorted(rows, key=lambda row: (row["judge"], row["swept"]))


def main() -> None:
    args = parse(__doc__, config="config", metrics="path", output="path")
    rows = gather(read_table(args.metrics).to_pandas(), args.config["arms"])
    write_table(args.output, rows, SWEEP, provenance(args.config, [args.metrics]))


if __name__ == "__main__":
    run(main)
