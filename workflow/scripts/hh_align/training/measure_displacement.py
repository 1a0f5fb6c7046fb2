"""Log-probabilities of chosen and rejected replies before and after a training on pairs: of pairs that it has seen, and of held-out ones.

A loss on the margin alone may lower both (Pal et al. 2024, arXiv 2402.13228; Razin et al. 2024, arXiv 2410.08847: likelihood displacement).
"""

import time

import pyarrow as pa

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import KEY, SCHEMA, training_rows
from hh_align.data.transcripts import cluster_of
from hh_align.models.batches import Parts
from hh_align.models.compute import use_device, write_timing
from hh_align.models.folders import load_policy
from hh_align.models.packing import Tree, use_packing
from hh_align.models.tokens import Pair
from hh_align.training.pairs import check_pairs, pair_logps, per_pair, usable_pairs

DISPLACEMENT = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("cluster", pa.string()),
        ("trained", pa.bool_()),
        ("chosen_before", pa.float64()),
        ("rejected_before", pa.float64()),
        ("chosen_after", pa.float64()),
        ("rejected_after", pa.float64()),
        ("chosen_tokens", pa.int64()),
        ("rejected_tokens", pa.int64()),
    ]
)
LOGPS = ("chosen_before", "rejected_before", "chosen_after", "rejected_after")


def sampled(table: list[dict], split: str, view: dict, count: int) -> list[dict]:
    """At most `count` rows of a split that the method can read, evenly over the file; of the training split among those it trains on."""
    rows = training_rows(table, split, None if view["dropout"] == "as_published" else "use_dpo", view.get("max_rows"))
    return rows if len(rows) <= count else [rows[number * len(rows) // count] for number in range(count)]


def read_pairs(table: list[dict], tokenizer, config: dict) -> tuple[list[dict], list[Pair]]:
    """(rows, pairs) of the training split, then of every other split that has pairs."""
    view, train_split = config["view"], config["train_split"]
    without_limit = {key: value for key, value in view.items() if key != "max_rows"}
    rows, pairs = [], []
    for split in [train_split, *sorted({row["split"] for row in table if row["use_dpo"]} - {train_split})]:
        chosen = sampled(table, split, view if split == train_split else without_limit, config["pairs"])
        kept, read, _ = usable_pairs(chosen, tokenizer, without_limit, split)
        rows, pairs = rows + kept, pairs + read
    return rows, pairs


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", parent="path", policy="path", preferences="path", threads="int", state="path", output="path", timing="path"
    )  # fmt: skip
    config = args.config
    device = use_device(config, args.threads)
    made_by = provenance(config, [args.parent, args.policy, args.preferences], device=device, threads=args.threads)
    models = []
    for manifest in (args.parent, args.policy):
        model, tokenizer = load_policy(manifest, device=device)
        use_packing(model)
        models.append(model)
    rows, pairs = read_pairs(read_table(args.preferences, SCHEMA).to_pylist(), tokenizer, config)
    check_pairs(models[0].config, pairs)

    def before_and_after(trees: list[Tree]) -> list[list[float]]:
        before, after = (pair_logps(model, trees, config["view"]["precision"]) for model in models)
        return [start + end for start, end in zip(before, after, strict=True)]

    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.training.measure_displacement")), started) as state:
        logps = per_pair(rows, pairs, before_and_after, config["batch_tokens"], Parts(state), "the log-probabilities")
        table = [
            {**{key: row[key] for key in KEY}, "cluster": cluster_of(row["prompt"]), "trained": row["split"] == config["train_split"]}
            | dict(zip(LOGPS, values, strict=True))
            | {"chosen_tokens": len(pair.chosen_ids), "rejected_tokens": len(pair.rejected_ids)}
            for row, pair, values in zip(rows, pairs, logps, strict=True)
        ]
        write_table(args.output, table, DISPLACEMENT, made_by)
    fell = sum(row["chosen_after"] < row["chosen_before"] for row in table)
    say(f"{len(rows):,} pairs, in {fell:,} the chosen reply has lost probability")
    write_timing(args.timing, state.started, state.continuations, pairs=len(rows), tokens=state.tokens)


if __name__ == "__main__":
    run(main)
