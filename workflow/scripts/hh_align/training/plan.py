"""What a training reads, and when."""

from collections.abc import Sequence
from dataclasses import dataclass

from hh_align.core.artifacts import say
from hh_align.core.plan import steps_of, training_order
from hh_align.data.preferences import row_name


@dataclass
class Plan:
    """The rows of a training in file order, by number, and the order in which they are read, its epochs joined.

    names, sizes (tokens) and cuts (tokens lost): of each row; batch_size: rows of an optimizer step.
    """

    names: Sequence[str]
    sizes: Sequence[int]
    cuts: Sequence[int]
    order: Sequence[int]
    batch_size: int

    @property
    def steps(self) -> list[Sequence[int]]:
        """The rows of each optimizer step; the last one may hold fewer."""
        return steps_of(self.order, self.batch_size)


def plan_training(rows: Sequence[dict], sizes: Sequence[int], cuts: Sequence[int], method: dict, seed: int, noun: str) -> Plan:
    """The plan of a method's epochs over the rows, each called a `noun` where it is told how many there are."""
    order = training_order(sizes, method["epochs"], method["batch_size"], seed, method.get("batching") == "by_length")
    say(f"{len(rows):,} {noun}s, {sum(sizes):,} tokens; {sum(cut > 0 for cut in cuts):,} {noun}s cut, {sum(cuts):,} tokens lost")
    return Plan([row_name(row) for row in rows], sizes, cuts, order, method["batch_size"])
