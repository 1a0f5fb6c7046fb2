"""How alike a model's states of the chosen and the rejected reply are, of a derived dataset's training pairs: their CHES scores.

Razin et al. 2024 (arXiv 2410.08847): training on pairs with a high score lowers the probability of the chosen replies.
"""

import time
from collections.abc import Sequence
from functools import partial

import torch

from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import KEY
from hh_align.data.selection import SIMILARITIES, selected_pairs
from hh_align.models.batches import Parts
from hh_align.models.compute import use_device, write_timing
from hh_align.models.folders import load_policy
from hh_align.models.packing import Tree, pack, reply_states, use_packing
from hh_align.training.pairs import check_pairs, pairs_as_read, per_pair


def centered_similarity(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """<chosen, rejected> - ||chosen||^2 of states of replies, shape (pairs, width) -> (pairs,): of arXiv 2410.08847, definition 2."""
    return ((rejected - chosen) * chosen).sum(-1)


def ches_scores(model, trees: Sequence[Tree]) -> list[list[float]]:
    """(CHES, length-normalized CHES) of the two replies of each tree, chosen first, by a model that uses packing.

    A reply's states are those that predict its tokens: of the prompt's last token and of all of the reply's but the last. CHES takes their
    sum, its length-normalized form their mean.
    """
    with torch.inference_mode():
        batch = pack(trees).to(model.device)
        sums = reply_states(model, batch)
        means = sums / batch.reply_tokens[:, None]
        both = [centered_similarity(states[::2], states[1::2]) for states in (sums, means)]
        return torch.stack(both, dim=-1).tolist()


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", policy="path", preferences="path", prompts="path?", threads="int", state="path", output="path", timing="path"
    )  # fmt: skip
    config = args.config
    device = use_device(config, args.threads)
    inputs = [path for path in (args.policy, args.preferences, args.prompts) if path]
    made_by = provenance(config, inputs, device=device, threads=args.threads)
    model, tokenizer = load_policy(args.policy, device=device)
    use_packing(model)
    rows = selected_pairs(args.preferences, args.prompts, config)
    pairs = [pair for _, pair in pairs_as_read(rows, tokenizer, config["max_length"], config["max_prompt_length"])]
    check_pairs(model.config, pairs, "datasets.*.ches")
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.training.compute_ches")), started) as state:
        scores = per_pair(rows, pairs, partial(ches_scores, model), config["batch_tokens"], Parts(state), "the CHES scores")
        table = [
            {**{key: row[key] for key in KEY}, "ches": ches, "normalized_ches": normalized}
            | {"chosen_tokens": len(pair.chosen_ids), "rejected_tokens": len(pair.rejected_ids)}
            | {"cut_tokens": pair.cut_prompt + pair.cut_reply}
            for row, pair, (ches, normalized) in zip(rows, pairs, scores, strict=True)
        ]
        write_table(args.output, table, SIMILARITIES, made_by)
    cut = sum(row["cut_tokens"] > 0 for row in table)
    say(f"{len(rows):,} pairs, {cut:,} cut; of {sum(row['normalized_ches'] > 0 for row in table):,} the length-normalized score is above 0")
    write_timing(args.timing, state.started, state.continuations, pairs=len(rows), tokens=state.tokens)


if __name__ == "__main__":
    run(main)
