"""The errors that a user can mend."""


class StudyError(Exception):
    """Something the user can mend; its text says what, where and what to do, in one line: what it quotes is shown by escapes where it is not printable."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str, keep: str = "") -> str:
    """The text with escapes for what a terminal does not show but obeys, or turns the reading direction; `keep`: letters that stay."""
    return "".join(letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode() for letter in text)
