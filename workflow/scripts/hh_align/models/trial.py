"""What the later steps ask of a base model, tried once on a few tokens: an import refuses what would fail, or go wrong in silence, later."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError
from hh_align.models.chat import as_read
from hh_align.models.compute import out_of_memory
from hh_align.models.decoding import decode
from hh_align.models.dropout import disable_dropout, random_module
from hh_align.models.folders import check_tokenizer, first_line, positions_of
from hh_align.models.judge_inputs import judge_ids
from hh_align.models.packing import Tree, attend_within_trees, pack, token_logps, tree_size, use_packing
from hh_align.models.tokens import check_boundaries, encoder

ALLOWED = "Take a causal model whose tokens meet in attention alone, such as OPT, GPT-2, GPT-NeoX (Pythia), Llama, Mistral, Qwen2 or Qwen3 (docs/architectures.md has more)."
SAMPLE = [Tree([5, 6, 7, 8, 9], [[10, 11, 12], [13, 14]]), Tree([15, 16], [[17, 18, 19]])]
"""A prompt with two replies beside another one, of ids that every vocabulary has."""
SEQUENCES = [(prompt, reply) for prompt, replies in SAMPLE for reply in replies]
NO_NUMBERS = "it gives no numbers: its weights are damaged, or config.json is not theirs. Take the model from its source again"
TOLERANCE = 1e-3
"""Of a token's log-probability, relative where it is beyond 1."""
HARMLESS = {"dropout", "scaling", "sliding_window", "position_ids", "logits_to_keep"}
"""Numbers and tensors that a model may hand to its attention beside query, key and value; a window's mask is looked at by itself."""


TRANSCRIPTS = [
    ("\n\nHuman: How do I boil an egg?\n\nAssistant:", " Boil water, then add it for 7 minutes."),
    ("\n\nHuman: Name two prime numbers.\n\nAssistant:", " 3 and 5 are prime.\n\nSo is 7, by the way."),
    ("\n\nHuman: Hi!\n\nAssistant: Hello. How can I help?\n\nHuman: What does 'salut' mean?\n\nAssistant:", ' "Hi", in French.'),
]
"""Prompts and replies as in every dataset."""


def starved(error: Exception) -> bool:
    """Whether there was no memory left."""
    return isinstance(error, MemoryError) or out_of_memory(error)


@contextmanager
def enough_memory(where: Path) -> Iterator[None]:
    """Within, a model that was read at `where` is tried. Raises StudyError where there is no memory for that."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not starved(error):
            raise
        raise StudyError(f"{where}: not enough memory to try it. Take a machine with more, or run fewer jobs side by side.") from None


def check_reading(tokenizer, where: Path) -> None:
    """Raise StudyError where the tokenizer does not give a transcript back, or joins prompt and reply."""
    encode = encoder(tokenizer)
    for text in (prompt + reply for prompt, reply in TRANSCRIPTS):
        if tokenizer.decode(*encode([text]), clean_up_tokenization_spaces=False).lstrip(" ") != text:
            raise StudyError(
                f"{where}: the tokenizer does not keep a transcript's words, spaces and blank lines. Take a model whose tokenizer does, such "
                "as OPT, GPT-2, Llama or Qwen2."
            )
    rows = [
        {"subset": "import", "split": "sample", "row": number, "prompt": prompt, "chosen": reply, "rejected": reply}
        for number, (prompt, reply) in enumerate(TRANSCRIPTS)
    ]
    try:
        check_boundaries(as_read(rows, tokenizer), encode)
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None


def alone(model) -> list[float]:
    """log p of each reply token of SAMPLE, one sequence after the other, each in a pass of its own, by the attention that is set."""
    logps = []
    for prompt, reply in SEQUENCES:
        logits = model(input_ids=torch.tensor([prompt + reply]), use_cache=False).logits[0].log_softmax(1)
        logps += logits[range(len(prompt) - 1, len(prompt) + len(reply) - 1), reply].tolist()
    return logps


def attention_of(model) -> tuple[set[str], list[Callable]]:
    """(what a model hands to its attention beside query, key, value and what HARMLESS names; the mask functions that it attends by)."""
    asked, used, masks = set(), [], []

    def mask(**given) -> torch.Tensor:
        masks.append((torch.zeros(1, 1, given["q_length"], given["kv_length"]), given["mask_function"]))
        return masks[-1][0]

    def attend(module, query, key, value, attention_mask, **options):
        asked.update(name for name, value in options.items() if not (value is None or isinstance(value, bool) or name in HARMLESS))
        functions = [function for made, function in masks if made is attention_mask]
        used.extend(functions)
        if attention_mask is not None and not functions:
            asked.add("a mask of its own")
        return attend_within_trees(module, query, key, value, None, **options)

    AttentionInterface.register("trial", attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register("trial", mask)
    model.set_attn_implementation("trial")
    model(input_ids=torch.tensor([SAMPLE[0].prompt]), use_cache=False)
    return asked, used


def packed(model) -> list[float]:
    """As alone, in one packed row, as references and trainings read."""
    use_packing(model)
    return token_logps(model, pack(SAMPLE)).tolist()


def packed_plainly(model) -> list[float]:
    """As packed. Raises ValueError where a model asks more of its attention than packed rows have."""
    if asked := attention_of(model)[0]:
        raise ValueError(f"its attention has {', '.join(sorted(asked))}")
    return packed(model)


def packed_far(model) -> list[float]:
    """As packed, of the first tree alone, the other one at the end of the positions that the model reads.

    Raises ValueError where attention does not reach from there to the first position, or depends on a token's place in the row.
    """
    last = positions_of(model.config) - 1
    if not all(mask(0, 0, torch.tensor(last), torch.tensor(0)) for mask in attention_of(model)[1]):
        raise ValueError(f"its attention does not reach over the {last + 1:,} positions that config.json names")
    if getattr(model.config.get_text_config(), "attn_temperature_tuning", False):
        raise ValueError("its attention depends on a token's place in the row (attn_temperature_tuning)")
    use_packing(model)
    batch, (near, far) = pack(SAMPLE), map(tree_size, SAMPLE)
    batch.position_ids[0, near:] += last + 1 - far
    return token_logps(model, batch)[: sum(map(len, SAMPLE[0].replies))].tolist()


def padded(model) -> list[float]:
    """As alone, by PyTorch's attention in one batch with padding on both sides, as drift is measured. Raises ValueError without it."""
    try:
        model.set_attn_implementation("sdpa")
    except ValueError:
        raise ValueError("it has no attention by scaled_dot_product_attention, with which every step loads a policy") from None
    left, right = (max(map(len, parts)) for parts in zip(*SEQUENCES, strict=True))
    ids, mask = torch.full((len(SEQUENCES), left + right), SAMPLE[0].prompt[0]), torch.zeros(len(SEQUENCES), left + right, dtype=torch.long)
    for row, (prompt, reply) in enumerate(SEQUENCES):
        ids[row, left - len(prompt) : left + len(reply)] = torch.tensor(prompt + reply)
        mask[row, left - len(prompt) : left + len(reply)] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=right + 1).logits
    rows = [row[range(len(reply)), reply] for row, (_, reply) in zip(logits.log_softmax(2), SEQUENCES, strict=True)]
    return torch.cat(rows).tolist()


def written(model) -> list[float]:
    """As alone, token by token behind a memory of what was before, as generation writes."""
    logps: list[list[float]] = [[] for _ in SEQUENCES]

    def choose(logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        following = [SEQUENCES[row][1][len(logps[row]) :] for row in rows]
        for row, tokens, values in zip(rows, following, logits.log_softmax(1).tolist(), strict=True):
            logps[row] += [values[token] for token in tokens[:1]]
        return torch.tensor([tokens[0] if tokens else -1 for tokens in following])

    decode(model, [prompt for prompt, _ in SEQUENCES], max(len(reply) for _, reply in SEQUENCES), -1, choose)
    return list(chain(*logps))


def trained(model) -> list[float]:
    """As packed, in training mode with nothing random, and its gradient, of which no more than one weight's is kept at a time.

    Raises ValueError where a second pass gives other numbers, or a gradient is not finite.
    """
    disable_dropout(model.train())
    use_packing(model)
    broken = []

    def look(weight: torch.Tensor) -> None:
        broken.append(not weight.grad.sum().isfinite())
        weight.grad = None

    hooks = [weight.register_post_accumulate_grad_hook(look) for weight in model.parameters() if weight.requires_grad]
    try:
        with torch.enable_grad():
            logps = token_logps(model, pack(SAMPLE))
            logps.sum().backward()
        if not torch.allclose(token_logps(model, pack(SAMPLE)), logps, atol=1e-4, rtol=1e-4):
            raise ValueError(f"something random is left: {random_module(model, SAMPLE[0].prompt)}")
        if not broken or any(broken):
            raise ValueError("its gradient is not finite")
        return logps.tolist()
    finally:
        model.eval()
        for hook in hooks:
            hook.remove()


TRIALS = [
    ("packed", packed_plainly),
    ("packed", packed_far),
    ("padded", padded),
    ("decoded", written),
    ("trained", trained),
]


@torch.no_grad()
def outcomes(model) -> Iterator[tuple[str, float, str]]:
    """(what was tried, how far a log-probability is from that of a plain pass, why it fails or nothing) of TRIALS in turn, up to the first
    that fails."""
    before, expected = model.config._attn_implementation, []
    model.eval().set_attn_implementation("eager")
    for what, trial in [("read", alone), *TRIALS]:
        far = 0.0
        try:
            read = trial(model)
            if not expected and not all(map(math.isfinite, read)):
                raise ValueError(NO_NUMBERS)
            expected = expected or read
            off = [abs(one - other) / max(1.0, abs(other)) for one, other in zip(read, expected, strict=False)]
            far, fits = max(off), all(value < TOLERANCE for value in off)  # no comparison holds for what is no number
            why = "" if fits else "its log-probabilities are not those of each sequence alone"
        except Exception as error:  # what a model raises that cannot has no class of its own
            if starved(error):
                raise
            why = first_line(error)
        yield what, far, why
        if why:
            break
    model.set_attn_implementation(before)


def check_model(model, where: Path) -> None:
    """Raise StudyError where a base model fails in one of TRIALS."""
    farthest = 0.0
    for what, far, why in outcomes(model):
        if why == NO_NUMBERS:
            raise StudyError(f"{where}: {NO_NUMBERS}.")
        if why:
            off = f" (off by {far:.1g})" if far else ""
            raise StudyError(f"{where}: a model of type {model.config.model_type} cannot be {what}: {why.rstrip('.')}{off}. {ALLOWED}")
        farthest = max(far, farthest)
    say(
        f"{where.name}: rows of up to {positions_of(model.config):,} tokens; packed or not, log-probabilities differ by at most {farthest:.1e}"
    )


def check_base(model, tokenizer, where: Path) -> None:
    """Raise StudyError, naming `where` it was read, for a base model that cannot do what the later steps ask of it."""
    check_tokenizer(tokenizer, model, where)
    check_reading(tokenizer, where)
    with enough_memory(where):
        check_model(model, where)


def check_judge(model, tokenizer, reads: str, where: Path) -> None:
    """Raise StudyError for a judge that gives no numbers, and where its logits of a text depend on the texts beside it in a padded batch."""
    check_tokenizer(tokenizer, model, where)
    prompts, replies = zip(("\n\nHuman: Hi!", " Hi."), *TRANSCRIPTS, strict=True)
    rows = sorted(judge_ids(tokenizer, reads, prompts, replies, [str(where)] * len(prompts), None)[0], key=len)
    width, pad = max(map(len, rows)), tokenizer.pad_token_id
    padded = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad(), enough_memory(where):
        try:
            together = model.eval()(input_ids=padded, attention_mask=mask).logits
            alone = torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows])
        except Exception as error:  # what a model raises that cannot has no class of its own
            if starved(error):
                raise
            raise StudyError(
                f"{where}: a judge of type {model.config.model_type} cannot read texts side by side ({first_line(error)})."
            ) from error
    if not alone.isfinite().all():
        raise StudyError(f"{where}: {NO_NUMBERS}.")
    apart = (together - alone).abs().max().item()
    if not apart < 1e-3 * max(1.0, alone.abs().max().item()):
        raise StudyError(
            f"{where}: a judge of type {model.config.model_type} gives a text other rewards beside longer ones (by {apart:.1e}): "
            "it does not leave padding out. Take another judge."
        )
