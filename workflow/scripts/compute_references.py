"""Log-probabilities of chosen and rejected replies under a reference policy, for the token view of one method."""

import math
import time

import pyarrow as pa
import torch

from study.artifacts import provenance, read_table, say, write_table
from study.command import StudyError, parse, run
from study.compute import use_device, write_timing
from study.dpo import pair_tree, pairs
from study.models import load_policy
from study.packing import MULTIPLE, pack, reply_logps, to_device, tree_size, use_packing
from study.plan import token_batches
from study.preferences import KEY, SCHEMA, row_name
from study.progress import Progress

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


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", policy="path", preferences="path", threads="int", output="path", timing="path"
    )  # fmt: skip
    view = args.config["view"]
    device = use_device(args.config["device"], args.threads)
    made_by = provenance(args.config, [args.policy, args.preferences], device=device, threads=args.threads)
    model, tokenizer = load_policy(args.policy, device=device)
    use_packing(model)
    rows, examples, _ = pairs(read_table(args.preferences, SCHEMA.names).to_pylist(), tokenizer, view, args.config["train_split"])
    say(f"{len(rows):,} pairs; prompt cut in {sum(example['cut_prompt'] > 0 for example in examples):,}")

    trees = [pair_tree(example) for example in examples]
    batches = token_batches([tree_size(tree) for tree in trees], args.config["batch_tokens"])
    progress, found = Progress(len(rows), "pair"), {}
    for batch in batches:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=view["precision"] == "bfloat16"):
            logps = reply_logps(model, to_device(pack([trees[row] for row in batch], MULTIPLE[view["precision"]]), device)).tolist()
        for place, row in enumerate(batch):
            found[row] = logps[2 * place], logps[2 * place + 1]
            if not all(map(math.isfinite, found[row])):
                raise StudyError(f"{row_name(rows[row])}: the reference's log-probability is {found[row]}. The weights are damaged.")
        progress.add(len(batch), sum(tree_size(trees[row]) for row in batch))

    table = []
    for number, (row, example) in enumerate(zip(rows, examples, strict=True)):
        chosen, rejected = found[number]
        counts = {f"{part}_tokens": len(example[f"{part}_ids"]) for part in ("prompt", "chosen", "rejected")}
        cut = {key: example[key] for key in ("cut_prompt", "cut_reply")}
        table.append({**{key: row[key] for key in KEY}, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected, **counts, **cut})
    write_table(args.output, table, REFERENCES, made_by)
    write_timing(args.timing, started, pairs=len(rows), tokens=progress.tokens)


if __name__ == "__main__":
    run(main)
