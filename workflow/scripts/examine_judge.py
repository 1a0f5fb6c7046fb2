"""How often each judge agrees with people on held-out pairs, by subset, with intervals."""

import numpy as np
import pyarrow as pa
from scipy.stats import mannwhitneyu

from study.artifacts import provenance, read_table, say, write_table
from study.command import parse, run
from study.statistics import wilson

JUDGE = pa.schema(
    [
        ("judge", pa.string()),
        ("axis", pa.string()),
        ("subset", pa.string()),
        ("format", pa.string()),
        ("n", pa.int64()),
        ("accuracy", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("auc", pa.float64()),
    ]
)


def examine(chosen: np.ndarray, rejected: np.ndarray) -> dict:
    """Accuracy within pairs in percent (a tie counts as an error) with Wilson's interval, and the AUC over all replies."""
    right, n = int((chosen > rejected).sum()), len(chosen)
    low, high = wilson(right, n)
    auc = float(mannwhitneyu(chosen, rejected).statistic) / n**2
    return {"n": n, "accuracy": 100 * right / n, "ci_low": 100 * low, "ci_high": 100 * high, "auc": auc}


def main() -> None:
    args = parse(__doc__, config="config", pairs="paths", output="path")
    rows = []
    for path in args.pairs:
        table = read_table(path, ["axis", "subset", "chosen_reward", "rejected_reward"]).to_pandas()
        for (axis, subset), frame in table.groupby(["axis", "subset"], sort=True):
            found = examine(frame["chosen_reward"].to_numpy(), frame["rejected_reward"].to_numpy())
            rows.append({"judge": path.parent.name, "axis": axis, "subset": subset, "format": "as evaluated", **found})
            interval = f"[{found['ci_low']:.1f}, {found['ci_high']:.1f}]"
            say(f"{path.parent.name} on {subset}: {found['accuracy']:.1f} % {interval} of {found['n']:,} pairs, AUC {found['auc']:.3f}")
    write_table(args.output, rows, JUDGE, provenance(args.config, args.pairs))


if __name__ == "__main__":
    run(main)
