"""What so many prompts can show: the smallest difference that is found, and the prompts that a difference needs."""

import math

import pyarrow as pa

from hh_align.analysis.ratings import read_ratings
from hh_align.analysis.statistics import detectable_difference, mcnemar_power, pairs_needed
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.axes import CAS
from hh_align.core.command import parse, run

POWER = pa.schema(
    [
        ("question", pa.string()),
        ("axis", pa.string()),
        ("n", pa.int64()),
        ("discordance", pa.float64()),
        ("difference", pa.float64()),
        ("power", pa.float64()),
    ]
)
STEP = 0.002  # differences in steps of 0.2 points
DIFFERENCES = (0.05, 0.10, 0.15)
AIM = 0.8


def detectable(axis: str | None, n: int, discordance: float) -> dict:
    """The smallest difference (points, a multiple of 0.2) that n pairs show with a power of 80 %; null where not even all of them would."""
    smallest = detectable_difference(n, discordance, AIM)
    difference = None if smallest is None else min(discordance, math.ceil(round(smallest / STEP, 6)) * STEP)
    power = None if difference is None else 100 * mcnemar_power(n, discordance, difference)
    return row("detectable difference", axis, n, discordance, difference, power)


def needed(difference: float, discordance: float) -> dict:
    """The pairs from which on a difference is found with a power of 80 %."""
    n = pairs_needed(difference, discordance, AIM)
    return row("prompts needed", None, n, discordance, difference, 100 * mcnemar_power(n, discordance, difference))


def row(question: str, axis: str | None, n: int, discordance: float, difference: float | None, power: float | None) -> dict:
    points = None if difference is None else round(100 * difference, 6)
    return {"question": question, "axis": axis, "n": n, "discordance": 100 * discordance, "difference": points, "power": power}


def questions(sizes: dict[str, int], config: dict) -> list[dict]:
    """Rows of power.parquet: McNemar's exact test at 5 %, both sides, enumerated.

    sizes: prompts per axis of the study. CAS pools both axes' pairs and is asked only where they are as many. Discordance is the
    share of prompts on which two policies' labels differ.
    """
    share = config["discordance"]
    rows = [detectable(axis, n, share) for axis, n in sizes.items()]
    if len(set(sizes.values())) == 1:
        rows.append(detectable(CAS, sum(sizes.values()), share))
    rows += [detectable(None, n, share) for n in config["sizes"]]
    return rows + [needed(difference, share) for difference in DIFFERENCES if difference <= share]


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", output="path")
    rows = questions({axis: len(prompts) for axis, prompts in read_ratings(args.ratings).prompts.items()}, args.config)
    for row in rows:
        if row["difference"] is not None:
            say(f"{row['question']}, {row['axis'] or 'any axis'}: {row['n']:,} prompts, {row['difference']:.1f} points")
    write_table(args.output, rows, POWER, provenance(args.config, [args.ratings]))


if __name__ == "__main__":
    run(main)
