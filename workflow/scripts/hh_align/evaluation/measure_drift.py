"""How far a policy has moved: its divergence from its parent and the root on sampled responses, and its perplexity on held-out text."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import torch

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.plan import token_batches
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.core.tables import PROMPTS, columns_of
from hh_align.data.preferences import SCHEMA, row_name
from hh_align.evaluation.held_out import held_out, keys_of
from hh_align.models.batches import Parts, by_batches
from hh_align.models.chat import as_read
from hh_align.models.compute import use_device, write_timing
from hh_align.models.decoding import Continuation, decode, prompt_ids
from hh_align.models.folders import load_policy, positions_of
from hh_align.models.packing import Tree, pack, reply_logps, use_packing
from hh_align.models.precision import is_emulated
from hh_align.models.tokens import encoder, pair_view, start

DRIFT = pa.schema(
    [
        ("measure", pa.string()),
        ("reference", pa.string()),
        ("axis", pa.string()),
        ("key", pa.string()),
        ("sample", pa.int64()),
        ("tokens", pa.int64()),
        ("ended", pa.bool_()),
        ("nats", pa.float64()),
    ]
)
TEXT_WINDOW = 512  # tokens of the text that are read at once
PADDING = 0.2
"""The largest share of a batch of samples that may be padding: its prompts are read once by the policy to draw, and once by each model."""


def sample_responses(
    model, prompts: Sequence[list[int]], streams: Sequence[np.ndarray], max_new_tokens: int, eos: int, names: Sequence[str] = ()
) -> list[Continuation]:
    """Continuations drawn from the policy itself: temperature 1, the whole vocabulary.

    streams: for each prompt one uniform number per position, shape (max_new_tokens,); the token is where the cumulated
    probabilities pass it, so that a sample does not depend on the batch that it is drawn in. They are cumulated as whole numbers, whose
    sum is the same in every order that a GPU may take.
    """
    numbers = torch.tensor(np.stack(streams), device=model.device)
    position = iter(range(max_new_tokens))

    def choose(logits: torch.Tensor, rows: list[int]) -> torch.Tensor:
        cumulated = (logits.double().softmax(1) * 2**53).long().cumsum(1)
        drawn = (numbers[rows, next(position), None] * cumulated[:, -1:]).long()
        return torch.searchsorted(cumulated, drawn, right=True)[:, 0]

    return decode(model, prompts, max_new_tokens, eos, choose, names=names)


def reply_distributions(model, prompts: Sequence[list[int]], replies: Sequence[list[int]], pad: int) -> list[torch.Tensor]:
    """Log-probabilities of the next token before each token of a reply: one float32 tensor (reply tokens, vocabulary) per pair.

    Prompts are padded on the left and replies on the right, so that the logits of the prompts are never made.
    """
    left, right = max(map(len, prompts)), max(map(len, replies))
    ids, mask = torch.full((len(prompts), left + right), pad), torch.zeros(len(prompts), left + right, dtype=torch.long)
    for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        start, end = left - len(prompt), left + len(reply)
        ids[row, start:end] = torch.tensor(prompt + reply)
        mask[row, start:end] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=right + 1).logits
    return [logits[row, : len(reply)].float().log_softmax(1) for row, reply in enumerate(replies)]


@torch.no_grad()
def divergences(policy, references: Iterable, prompts: list[list[int]], replies: list[list[int]], pad: int) -> list[list[float]]:
    """Nats summed over each reply: the policy's own entropy, then KL(policy || reference) for each reference.

    Both are exact at every position (the sum over the vocabulary); only the positions are sampled. Their mean estimates the
    divergence of whole responses without the noise of single log-ratios.
    """
    own = reply_distributions(policy, prompts, replies, pad)
    nats = [[-float((logp.exp() * logp).sum()) for logp in own]]
    for model in references:
        theirs = reply_distributions(model, prompts, replies, pad)
        nats.append([float((p.exp() * (p - q)).sum()) for p, q in zip(own, theirs, strict=True)])
    return nats


def same_tokens(policy, tokenizer, other, theirs) -> bool:
    """Whether two policies give probabilities to the same tokens: as many rows, each with the same token but for padding."""
    vocabularies = [{text: number for text, number in each.get_vocab().items() if text != each.pad_token} for each in (tokenizer, theirs)]
    return vocabularies[0] == vocabularies[1] and policy.config.vocab_size == other.config.vocab_size


def first_of_each_axis(prompts: list[dict], n: int | None) -> list[dict]:
    """The first n prompts of each axis, in their order; None: all."""
    counted, kept = Counter(), []
    for prompt in prompts:
        counted[prompt["axis"]] += 1
        if n is None or counted[prompt["axis"]] <= n:
            kept.append(prompt)
    return kept


def with_ids(prompts: list[dict], tokenizer, config: dict, positions: int) -> list[dict]:
    """The evaluation prompts with their `ids`, those that generation reads. Raises StudyError as prompt_ids does."""
    ids, _ = prompt_ids(tokenizer, prompts, config, positions)
    return [prompt | {"ids": read} for prompt, read in zip(prompts, ids, strict=True)]


def measure_samples(policy, tokenizer, references: dict[str, object], prompts: list[dict], config: dict, parts: Parts) -> list[dict]:
    """Rows of measure `sample`: `samples` responses to each prompt; a response's tokens include the </s> that ends it.

    references: name -> model; prompts: with their `ids`, as the policy reads them. Raises StudyError, naming the prompt, as decode does.
    """
    drift, length, eos = config["drift"], config["max_new_tokens"], tokenizer.eos_token_id
    asked = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(drift["samples"])]
    sizes = [len(prompts[prompt]["ids"]) + length for prompt, _ in asked]

    def compute(batch: Sequence[int]) -> list[tuple]:
        starts = [prompts[asked[row][0]]["ids"] for row in batch]
        streams = [np.random.default_rng([drift["seed"], *asked[row]]).random(length) for row in batch]
        names = [prompts[asked[row][0]]["prompt_id"] for row in batch]
        drawn = sample_responses(policy, starts, streams, length, eos, names)
        replies = [[*part.ids, *[eos] * (part.finish == "eos")] for part in drawn]
        nats = divergences(policy, references.values(), starts, replies, tokenizer.pad_token_id)
        return [(len(reply), part.finish == "eos", values) for reply, part, *values in zip(replies, drawn, *nats, strict=True)]

    samples = by_batches(token_batches(sizes, config["batch_tokens"], PADDING), sizes, compute, parts, Progress(len(asked), "sample"))
    rows = []
    for (prompt, sample), (tokens, ended, nats) in zip(asked, samples, strict=True):
        origin = {"measure": "sample", "axis": prompts[prompt]["axis"], "key": prompts[prompt]["prompt_id"], "sample": sample}
        rows += [
            {**origin, "reference": name, "tokens": tokens, "ended": ended, "nats": value}
            for name, value in zip([None, *references], nats, strict=True)
        ]
    return rows


@torch.no_grad()
def measure_replies(policy, examples: list[dict], batch_tokens: int, parts: Parts) -> list[dict]:
    """Rows that say how surprised the policy is by given replies: each example's tokens and negative log-likelihood in nats.

    examples: prompt_ids and reply_ids, and whatever else the row should hold. The policy uses packing.
    """
    sizes = [len(row["prompt_ids"]) + len(row["reply_ids"]) for row in examples]

    def compute(batch: Sequence[int]) -> list[float]:
        packed = pack([Tree(examples[row]["prompt_ids"], [examples[row]["reply_ids"]]) for row in batch])
        return reply_logps(policy, packed.to(policy.device)).tolist()

    logps = by_batches(token_batches(sizes, batch_tokens), sizes, compute, parts, Progress(len(examples), "text"))
    return [
        {**{key: value for key, value in row.items() if not key.endswith("_ids")}, "tokens": len(row["reply_ids"]), "nats": -logp}
        for row, logp in zip(examples, logps, strict=True)
    ]


def chosen_examples(rows: list[dict], tokenizer, positions: int) -> list[dict]:
    """Held-out chosen replies behind their prompts, as DPO reads them, within the policy's positions."""
    length = min(2 * TEXT_WINDOW, positions)
    pairs = pair_view(as_read(rows, tokenizer), encoder(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, length, length // 2)
    return [
        {"measure": "chosen", "axis": row["axis"], "key": row_name(row), "prompt_ids": pair.prompt_ids, "reply_ids": pair.chosen_ids}
        for row, pair in zip(rows, pairs, strict=True)
    ]


def text_examples(text: str, tokenizer, positions: int) -> list[dict]:
    """The text in windows behind a leading bos each; without one the window's first token is only read."""
    ids, first = encoder(tokenizer)([text])[0], start(tokenizer.bos_token_id)
    size = min(TEXT_WINDOW, positions) - len(first)
    windows = [[*first, *ids[at : at + size]] for at in range(0, len(ids), size)]
    return [
        {"measure": "text", "key": str(number), "prompt_ids": window[:1], "reply_ids": window[1:]}
        for number, window in enumerate(windows)
        if len(window) > 1
    ]


def check_finite(rows: list[dict]) -> None:
    """Raise StudyError, naming the row, for nats that are no finite number."""
    for row in rows:
        if not np.isfinite(row["nats"]):
            against = f" against {row['reference']}" if row.get("reference") else ""
            raise StudyError(f"{row['measure']} {row['key']}{against}: {row['nats']} nats. The weights of a policy are damaged.")


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", policy="path", references="paths?", prompts="path", preferences="path", seen="paths?", text="path",
        threads="int", state="path", output="path", timing="path",
    )  # fmt: skip
    config = args.config
    device = use_device(config, args.threads)
    is_emulated(config["dtype"], device)
    inputs = [args.policy, *args.references, args.prompts, args.preferences, *args.seen, args.text]
    made_by = provenance(config, inputs, device=device, threads=args.threads)
    policy, tokenizer = load_policy(args.policy, dtype=config["dtype"], device=device)
    loaded = {
        name: load_policy(path, dtype=config["dtype"], device=device)
        for name, path in zip(config["references"], args.references, strict=True)
    }
    references = {name: model for name, (model, theirs) in loaded.items() if same_tokens(policy, tokenizer, model, theirs)}
    for name in loaded.keys() - references.keys():
        say(f"no divergence from {name}: it has other tokens, so that probabilities of the next token cannot be held against each other")
    prompts = read_table(args.prompts, columns_of(PROMPTS, "axis", "prompt_id", "prompt")).to_pylist()
    pairs = held_out(read_table(args.preferences, SCHEMA).to_pylist(), config["subsets"], config["drift"]["rows"], keys_of(args.seen))
    text = args.text.read_text(encoding="utf-8").strip()
    if not text:
        raise StudyError(f"{args.text}: no text. drift.text names a plain UTF-8 file outside what the policies are trained on.")

    positions = positions_of(policy.config)
    prompts = with_ids(first_of_each_axis(prompts, config["drift"].get("prompts")), tokenizer, config, positions)
    examples = chosen_examples([row for rows in pairs.values() for row in rows], tokenizer, positions)
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.measure_drift")), started) as state:
        rows = measure_samples(policy, tokenizer, references, prompts, config, Parts(state, "samples.jsonl"))
        use_packing(policy)
        texts = examples + text_examples(text, tokenizer, positions)
        rows += measure_replies(policy, texts, config["batch_tokens"], Parts(state, "replies.jsonl"))
        check_finite(rows)
        write_table(args.output, rows, DRIFT, made_by)
    say(f"{len(prompts):,} prompts x {config['drift']['samples']} samples, {len(examples):,} chosen replies")
    write_timing(args.timing, state.started, state.continuations, tokens=state.tokens)


if __name__ == "__main__":
    run(main)
