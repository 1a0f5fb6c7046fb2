"""How a number is written for people: in every table, sentence, page and figure by `digits`, and by `exact` where a value of theirs is quoted."""


def digits(value: float, form: str = ".1f") -> str:
    """A number in Python's format `form`; what rounds to zero has no sign (never -0, nor +0.0)."""
    text = format(value, form)
    return text if any(digit in text for digit in "123456789n") or text[:1] not in ("-", "+") else text[1:]  # n: of inf and nan


def exact(value: float) -> str:
    """A number with as many digits as it takes to mean it and no other: 5, 0.1234567."""
    return repr(float(value)).removesuffix(".0")


def bound(value: float) -> str:
    """An end of an interval of differences in whole points; near 0, where its sign decides, with a decimal, `>0` or `<0`."""
    if abs(value) > 0.5:
        return digits(value, "+.0f")
    if abs(value) >= 0.05:
        return digits(value, "+.1f")
    return ">0" if value > 0 else "<0" if value < 0 else "0"
