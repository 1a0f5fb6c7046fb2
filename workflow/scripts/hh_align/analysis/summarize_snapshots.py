"""Rates and rewards along a training, beside the divergence that they cost: over-optimisation, if it is there, shows as a curve that turns."""

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

from hh_align.core.artifacts import provenance, read_table, write_table
from hh_align.core.axes import MEANS, RATE_METRICS
from hh_align.core.command import parse, run

ALONG = pa.schema(
    [
        ("judge", pa.string()),
        ("policy", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("step", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("n", pa.int64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("kl_root", pa.float64()),
        ("kl_root_low", pa.float64()),
        ("kl_root_high", pa.float64()),
        ("kl_parent", pa.float64()),
        ("kl_parent_low", pa.float64()),
        ("kl_parent_high", pa.float64()),
    ]
)


def arms_of(policy: str, entry: dict, last: int) -> list[tuple[str, int]]:
    """(arm, step) from the parent, at step 0, to the policy itself."""
    return [(entry["parent"], 0), *sorted(entry["arms"].items(), key=lambda arm: arm[1]), (policy, last)]


def divergence(drift: pd.DataFrame, arm: str, seed: int, reference: str) -> dict:
    """value, low and high in nats per token; 0 from itself, unknown where nothing was measured."""
    if arm == reference:
        return {"": 0.0, "_low": 0.0, "_high": 0.0}
    rows = drift[(drift["policy"] == arm) & (drift["seed"] == seed) & (drift["reference"] == reference)].to_dict("records")
    names = {"": "kl_per_token", "_low": "kl_low", "_high": "kl_high"}
    return {end: rows[0][name] if rows else None for end, name in names.items()}


def along(metrics: pd.DataFrame, drift: pd.DataFrame, config: dict, lasts: dict[tuple[str, int], int]) -> Iterator[dict]:
    """The rows of snapshots.parquet. config: root, and policies: name -> parent and arms (name -> step); lasts: (policy, seed) -> last step."""
    wanted = metrics[metrics["metric"].isin([*RATE_METRICS, *MEANS.values()])]
    for (policy, seed), last in lasts.items():
        entry = config["policies"][policy]
        for arm, step in arms_of(policy, entry, last):
            at = 0 if arm == config["root"] else seed
            moved = {
                f"kl_{name}{end}": value
                for name, reference in (("root", config["root"]), ("parent", entry["parent"]))
                for end, value in divergence(drift, arm, at, reference).items()
            }
            for row in wanted[(wanted["policy"] == arm) & (wanted["seed"] == at)].to_dict("records"):
                yield {**row, "policy": policy, "arm": arm, "seed": seed, "step": step, **moved}


def main() -> None:
    args = parse(__doc__, config="config", metrics="path", drift="path?", logs="paths", output="path")
    drift = read_table(args.drift).to_pandas() if args.drift else pd.DataFrame(columns=["policy", "seed", "reference"])
    lasts = {
        (policy, seed): len(read_table(path, ["step"])) for (policy, seed), path in zip(args.config["trained"], args.logs, strict=True)
    }
    rows = list(along(read_table(args.metrics).to_pandas(), drift, args.config, lasts))
    write_table(args.output, rows, ALONG, provenance(args.config, [args.metrics, *([args.drift] if args.drift else []), *args.logs]))


if __name__ == "__main__":
    run(main)
