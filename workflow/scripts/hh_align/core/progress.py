"""Progress lines: done/total, rate and remaining time, every few seconds."""

import time

from hh_align.core.artifacts import say


def clock(seconds: float) -> str:
    """Hours, minutes and seconds; the hours go beyond 24."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


class Progress:
    """Prints a line at most every `seconds`, and one at the end."""

    def __init__(self, total: int, unit: str, seconds: float = 5.0, done: int = 0) -> None:
        self.total, self.unit, self.seconds, self.done = total, unit, seconds, done
        self.started = self.printed = time.monotonic()
        self.first, self.tokens = done, 0

    def skip(self, count: int) -> None:
        """Count units that an earlier run has done."""
        self.done += count
        self.first += count

    def leave(self, count: int) -> None:
        """Take units that another job does out of the total."""
        self.total -= count

    def add(self, count: int, tokens: int = 0, note: str = "") -> None:
        """Count `count` units and `tokens` tokens as done."""
        self.done += count
        self.tokens += tokens
        now = time.monotonic()
        if now - self.printed < self.seconds and self.done < self.total:
            return
        self.printed = now
        elapsed = max(now - self.started, 1e-9)
        rate = (self.done - self.first) / elapsed
        left = clock((self.total - self.done) / rate) if rate else "unknown"
        speed = f", {self.tokens / elapsed:,.0f} tokens/s" if self.tokens else ""
        say(f"{self.unit} {self.done:,}/{self.total:,}, {rate:,.1f}/s{speed}, {left} left{note and ', ' + note}")
