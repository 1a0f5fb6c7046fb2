"""What a pretrained model makes of the chosen and rejected replies of preference pairs: the states that a reward head reads, behind several layers."""

import base64
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.plan import token_batches
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import KEY, SCHEMA, row_name, training_rows
from hh_align.data.transcripts import cluster_of, judged_prompt
from hh_align.models.batches import Parts, by_batches
from hh_align.models.compute import use_device, write_timing
from hh_align.models.folders import load_policy
from hh_align.models.heads import classifier_of, features
from hh_align.models.import_model import prepare_judge
from hh_align.models.judge_inputs import judge_ids

PADDING = 0.1
FEATURES = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("cluster", pa.string()),
        ("depth", pa.int64()),
        ("chosen", pa.list_(pa.float32())),
        ("rejected", pa.list_(pa.float32())),
        ("chosen_tokens", pa.int64()),
        ("rejected_tokens", pa.int64()),
        ("cut_tokens", pa.int64()),
    ]
)


def feature_rows(rows: list[dict], depths: Sequence[int], states: list[np.ndarray], sizes: list[int], cuts: list[int]) -> list[dict]:
    """Rows of FEATURES, one for each pair and depth; of states (depths, width), sizes and cuts each pair has two, the chosen reply's first."""
    table = []
    for number, row in enumerate(rows):
        chosen, rejected = 2 * number, 2 * number + 1
        about = {**{key: row[key] for key in KEY}, "cluster": cluster_of(row["prompt"])}
        counts = {
            "chosen_tokens": sizes[chosen],
            "rejected_tokens": sizes[rejected],
            "cut_tokens": cuts[chosen] + cuts[rejected],
        }
        table += [
            {**about, "depth": depth, "chosen": states[chosen][place], "rejected": states[rejected][place], **counts}
            for place, depth in enumerate(depths)
        ]
    return table


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", policy="path", preferences="path", threads="int", state="path", output="path", timing="path"
    )  # fmt: skip
    config, depths = args.config, args.config["depths"]
    device = use_device(config, args.threads)
    made_by = provenance(config, [args.policy, args.preferences], device=device, threads=args.threads)
    policy, tokenizer = load_policy(args.policy)
    reads = prepare_judge(tokenizer, policy, args.policy.parent, config.get("reads"))
    classifier = classifier_of(policy, tokenizer.pad_token_id, depths[-1], args.policy.parent).to(device)
    table = [row for row in read_table(args.preferences, SCHEMA).to_pylist() if row["subset"] in config["subsets"]]
    rows = training_rows(table, config["train_split"], "use_dpo", config.get("max_rows"))
    sides = [(row, side) for row in rows for side in ("chosen", "rejected")]
    prompts, replies = [judged_prompt(row["prompt"]) for row, _ in sides], [row[side].strip() for row, side in sides]
    ids, cuts = judge_ids(tokenizer, reads, prompts, replies, [row_name(row) for row, _ in sides], config.get("max_length"))
    sizes = list(map(len, ids))
    say(f"{len(rows):,} pairs, {sum(sizes):,} tokens, {sum(cut > 0 for cut in cuts):,} replies cut; layers {', '.join(map(str, depths))}")

    def compute(batch: Sequence[int]) -> list[str]:
        states = features(classifier, [ids[number] for number in batch], depths, tokenizer.pad_token_id).float().cpu().numpy()
        return [base64.b64encode(state.tobytes()).decode() for state in states]

    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.training.compute_features")), started) as state:
        batches = token_batches(sizes, config["batch_tokens"], PADDING)
        packed = by_batches(batches, sizes, compute, Parts(state), Progress(len(ids), "reply"))
        states = [np.frombuffer(base64.b64decode(text), np.float32).reshape(len(depths), -1) for text in packed]
        write_table(args.output, feature_rows(rows, depths, states, sizes, cuts), FEATURES, made_by)
    write_timing(args.timing, state.started, state.continuations, replies=len(ids), tokens=state.tokens)


if __name__ == "__main__":
    run(main)
