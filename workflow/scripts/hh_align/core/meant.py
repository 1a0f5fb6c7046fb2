"""Which name was meant by one that does not exist."""

import difflib
from collections.abc import Collection, Iterable


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """A sentence, with a space before it, that asks whether the name nearest in spelling is meant; empty where none is near."""
    near = difflib.get_close_matches(str(name), list(allowed), n=1)
    return "".join(f" Did you mean {other}?" for other in near)


def choices(name: object, allowed: Collection[str], nothing: str = "nothing is defined there") -> str:
    """The end of a message about an unknown name, behind `Allowed:`: all that are and, last, the one that is nearest in spelling."""
    return f"{', '.join(sorted(allowed)) or nothing}.{did_you_mean(name, allowed)}"
