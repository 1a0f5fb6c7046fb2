"""The errors that a user can mend."""


class StudyError(Exception):
    """Something the user can mend; its text says what, where and what to do, in one line: what it quotes is shown by escapes where it is not printable."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in message))
