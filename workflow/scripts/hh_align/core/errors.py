"""The errors that a user can mend."""


class StudyError(Exception):
    """Something the user can mend; its text says what, where and what to do."""
