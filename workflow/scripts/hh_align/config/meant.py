"""Which name was meant by one that does not exist."""

import difflib
from collections.abc import Collection


def choices(name: str, allowed: Collection[str], nothing: str = "nothing is defined there") -> str:
    """The end of a message about an unknown name, behind `Allowed:`: all that are and, last, the one that is nearest in spelling."""
    near = difflib.get_close_matches(name, allowed, n=1)
    return f"{', '.join(sorted(allowed)) or nothing}." + "".join(f" Did you mean {other}?" for other in near)
