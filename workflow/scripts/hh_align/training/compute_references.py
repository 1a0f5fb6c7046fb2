"""Log-probabilities of chosen and rejected replies under a reference policy, for the token view of one method."""

import time

import pyarrow as pa

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import KEY, SCHEMA
from hh_align.models.batches import Parts
from hh_align.models.compute import use_device, write_timing
from hh_align.models.folders import load_policy
from hh_align.models.packing import Tree, use_packing
from hh_align.models.precision import is_emulated
from hh_align.models.tokens import Pair
from hh_align.training.pairs import check_pairs, pair_logps, per_pair, usable_pairs

REFERENCES = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("ref_chosen_logps", pa.float32()),
        ("ref_rejected_logps", pa.float32()),
        ("prompt_tokens", pa.int64()),
        ("chosen_tokens", pa.int64()),
        ("rejected_tokens", pa.int64()),
        ("cut_prompt", pa.int64()),
        ("cut_reply", pa.int64()),
    ]
)


def reference_rows(rows: list[dict], pairs: list[Pair], logps: list[list[float]]) -> list[dict]:
    """Rows of the artifact: keys, log ref of (chosen, rejected), tokens and cuts."""
    table = []
    for row, pair, (chosen, rejected) in zip(rows, pairs, logps, strict=True):
        counts = {f"{part}_tokens": len(getattr(pair, f"{part}_ids")) for part in ("prompt", "chosen", "rejected")}
        cut = {"cut_prompt": pair.cut_prompt, "cut_reply": pair.cut_reply}
        table.append({**{key: row[key] for key in KEY}, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected, **counts, **cut})
    return table


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", policy="path", preferences="path", threads="int", state="path", output="path", timing="path"
    )  # fmt: skip
    view = args.config["view"]
    device = use_device(args.config, args.threads)
    is_emulated(view["precision"], device)
    made_by = provenance(args.config, [args.policy, args.preferences], device=device, threads=args.threads)
    model, tokenizer = load_policy(args.policy, device=device)
    use_packing(model)
    rows, pairs, _ = usable_pairs(read_table(args.preferences, SCHEMA).to_pylist(), tokenizer, view, args.config["train_split"])
    check_pairs(model.config, pairs)
    say(f"{len(rows):,} pairs; prompt cut in {sum(pair.cut_prompt > 0 for pair in pairs):,}")

    def logps_of(trees: list[Tree]) -> list[list[float]]:
        return pair_logps(model, trees, view["precision"])

    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.training.compute_references")), started) as state:
        logps = per_pair(rows, pairs, logps_of, args.config["batch_tokens"], Parts(state), "the reference's log-probabilities")
        write_table(args.output, reference_rows(rows, pairs, logps), REFERENCES, made_by)
    write_timing(args.timing, state.started, state.continuations, pairs=len(rows), tokens=state.tokens)


if __name__ == "__main__":
    run(main)
