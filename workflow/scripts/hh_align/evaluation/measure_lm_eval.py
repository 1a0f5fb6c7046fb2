"""What a policy makes of items of lm-evaluation-harness: the log-likelihood of each request, read as its `hf` model reads it."""

from collections.abc import Sequence

from hh_align.core.command import run
from hh_align.core.errors import StudyError
from hh_align.data.select_lm_eval import REQUESTS
from hh_align.evaluation.measure_capability import Question, Reading, measure
from hh_align.models.packing import Tree


def request_ids(tokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of a context and of the continuation behind it, as HFLM of lm-evaluation-harness has them: the special tokens are those that the
    tokenizer puts by itself, spaces at the context's end are the continuation's, a context without text is the bos, or the eos where there is none.
    """
    prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=not text.startswith(tokenizer.decode(prefix)))

    if context:
        before = ids(context.rstrip())
        return before or [prefix], ids(context + continuation)[len(before) :]
    alone = tokenizer.encode(continuation, add_special_tokens=False)
    return (alone[:1], alone[1:]) if alone[:1] == [prefix] else ([prefix], alone)


def reading(item: dict, tokenizer, positions: int) -> Reading:
    """The item's requests. Each context is read once; one too long for an option loses its beginning.

    Raises StudyError, naming the item, for an option without a token, and for one that leaves no room.
    """
    behind, places, cut = {}, [], {}
    for context, continuation in zip(item["contexts"], item["continuations"], strict=True):
        before, option = request_ids(tokenizer, context, continuation)
        room = positions - len(option)
        if not option or room < 1:
            raise StudyError(f"{item['item']}: an option of {len(option)} tokens, but the policy reads {positions}. Take its task out.")
        kept = tuple(before[-room:])
        behind.setdefault(kept, []).append(option)
        cut[kept] = len(before) - len(kept)
        places.append((list(behind).index(kept), len(behind[kept]) - 1))
    return Reading([Question(Tree([*kept], options), cut[kept]) for kept, options in behind.items()], places)


def readings(items: Sequence[dict], tokenizer, positions: int) -> list[Reading]:
    """What `reading` makes of each item."""
    return [reading(item, tokenizer, positions) for item in items]


def main() -> None:
    measure("hh_align.evaluation.measure_lm_eval", __doc__, REQUESTS, readings, len, "character")


if __name__ == "__main__":
    run(main)
