"""How long the steps of a run are expected to take: what they took before, what others of their rule took in this run, or in the demo."""

import heapq
from collections import defaultdict, deque
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from statistics import geometric_mean
from typing import NamedTuple

LOADING = ("import_base", "import_judge", "import_policy", "merge_adapter")
"""Rules whose time says little of others': they read and write weights once."""
ON_TWO_CORES = {
    "pretrain_base": 174.0,
    "train_judge": 194.0,
    "train_sft": 13.0,
    "train_dpo": 24.0,
    "train_kto": 24.0,
    "compute_references": 15.0,
    "generate_responses": 10.0,
    "score_responses": 9.0,
    "score_pairs": 11.0,
    "measure_drift": 14.0,
    "ask_endpoint": 20.0,
    **dict.fromkeys(LOADING, 10.0),
    **dict.fromkeys(
        ["compute_features", "compute_ches", "measure_displacement", "score_training_pairs", "measure_capability", "measure_lm_eval"], 15.0
    ),
    **dict.fromkeys(["answer_twins", "answer_suite"], 10.0),
    **dict.fromkeys(["score_twins", "score_suite"], 9.0),
    **dict.fromkeys(["ask_preferences", "ask_suite"], 20.0),
}
"""Rule -> seconds of one of its steps in the demo, where its length depends on models and rows; those that the demo has not are taken for
as long as others that read or write as much."""
LONG = ON_TWO_CORES.keys() - set(LOADING)
"""Rules of training, answering and rating: what one takes says something of the others."""
OTHER = 2.0
"""Seconds of any other rule's step: reading, analysing, drawing."""
UNKNOWN = "How long they take is known once the first long one has begun."
"""What is said in the place of a time where there is nothing to go by."""
SHORTEST = 0.1
"""Seconds that a step is taken to last at least."""


class Step(NamedTuple):
    """A step of a run: where it writes its log, the steps that it waits for, what it takes of each resource."""

    log: Path
    after: tuple[str, ...] = ()
    needs: tuple[tuple[str, int], ...] = ()


class Task(NamedTuple):
    """A step that is not done yet: seconds that are left of it, the steps that it waits for, what it takes of each resource."""

    seconds: float
    after: tuple[Hashable, ...] = ()
    needs: tuple[tuple[str, int], ...] = ()
    running: bool = False


def rule_of(name: str) -> str:
    """'train_sft/sft-seed-42' -> 'train_sft'."""
    return name.partition("/")[0]


def is_like_demo(settings: Mapping) -> bool:
    """Whether the demo's times are a guess for a study, by its config: its base model is trained from nothing, as the demo's is."""
    value = settings
    for key in ("models", "base", "source"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value == "scratch"


def seconds_before(benchmarks: Path) -> dict[str, float]:
    """Name -> seconds of each step that has run in a study before, from Snakemake's benchmarks; a file that cannot be read is left out."""
    seconds = {path: seconds_in(path) for path in sorted(benchmarks.rglob("*.tsv"))}
    return {path.relative_to(benchmarks).with_suffix("").as_posix(): took for path, took in seconds.items() if took is not None}


def seconds_in(benchmark: Path) -> float | None:
    """The wall-clock seconds of the last row of a benchmark of Snakemake's; None where there is none."""
    try:
        head, *rows = benchmark.read_text(encoding="utf-8").splitlines()
        return float(dict(zip(head.split("\t"), rows[-1].split("\t"), strict=True))["s"])
    except (OSError, ValueError, LookupError):
        return None


class Expectation:
    """What each step takes, corrected by those that have run.

    A step is expected to take what it took before, else as long as others of its rule took before, else as long as in the demo. Steps of
    this run scale that: those of the same rule or, where nothing is known of that rule, all that are known.
    """

    def __init__(self, before: Mapping[str, float], like_demo: bool = True) -> None:
        """before: name -> seconds of the study's earlier steps; like_demo: whether the demo's times are a guess where nothing else is known."""
        by_rule = defaultdict(list)
        for name, seconds in before.items():
            by_rule[rule_of(name)].append(seconds)
        self.before, self.of_rule = dict(before), {rule: sum(all_of) / len(all_of) for rule, all_of in by_rule.items()}
        self.like_demo, self.seen = like_demo, {}

    def first(self, name: str) -> float:
        """Seconds that a step was expected to take before the run."""
        rule = rule_of(name)
        return self.before.get(name) or self.of_rule.get(rule) or ON_TWO_CORES.get(rule, OTHER)

    def saw(self, name: str, seconds: float) -> None:
        """A step of this run has taken so long, or is on the way to."""
        self.seen[name] = seconds

    def seeing(self, seconds: Mapping[str, float]) -> "Expectation":
        """The same where these steps of this run take so long."""
        other = copy(self)
        other.seen = {**self.seen, **seconds}
        return other

    def measured(self) -> set[str]:
        """The rules of which steps have run here, or are at work and say how long they take."""
        return {*self.of_rule, *map(rule_of, self.seen)}

    def is_known(self, names: Iterable[str]) -> bool:
        """Whether there is something to go by for these steps: the demo's times apply, a long step was measured, or none of these is long."""
        return self.like_demo or bool(LONG & self.measured()) or LONG.isdisjoint(map(rule_of, names))

    def basis(self, names: Iterable[str]) -> str:
        """Where most of the seconds of these steps come from, in words."""
        expected, rules = self.of(names), self.measured()
        known = sum(seconds for name, seconds in expected.items() if name in self.before or rule_of(name) in rules)
        if known > sum(expected.values()) / 2:
            return "as earlier steps here took"
        return "a first guess, by " + ("the demo's times" if self.like_demo or not LONG & rules else "other steps here")

    def factors(self) -> dict[str, float]:
        """Rule -> how much longer its steps take in this run than was expected; "" for a rule of LONG of which nothing is known: how much
        longer than in the demo those take of which something is, as a geometric mean; where the demo's times are a guess, with 1 among them."""
        sums = defaultdict(lambda: [0.0, 0.0])
        for name, seconds in self.seen.items():
            sums[rule_of(name)][0] += max(seconds, SHORTEST)
            sums[rule_of(name)][1] += self.first(name)
        factors = {rule: taken / expected for rule, (taken, expected) in sums.items()}
        beside_demo = {
            rule: factors.get(rule, 1.0) * max(self.of_rule.get(rule, ON_TWO_CORES[rule]), SHORTEST) / ON_TWO_CORES[rule]
            for rule in LONG & self.measured()
        }
        guess = [1.0] if self.like_demo or not beside_demo else []
        return {"": geometric_mean([*guess, *beside_demo.values()]), **factors}

    def of(self, names: Iterable[str]) -> dict[str, float]:
        """Name -> expected seconds, from its start to its end."""
        factors = self.factors()
        expected = {}
        for name in names:
            rule = rule_of(name)
            unknown = rule in LONG and rule not in self.of_rule
            expected[name] = self.first(name) * factors.get(rule, factors[""] if unknown else 1.0)
        return expected


def remaining(
    steps: Mapping[str, Step],
    done: Collection[str],
    spent: Mapping[str, float],
    said: Mapping[str, float],
    expectation: Expectation,
    limits: Mapping[str, int],
) -> float:
    """Seconds until all steps are done: what a run shows, and what `status` says of one that is not at work.

    spent: name -> seconds that a step at work has taken; said: name -> seconds that are left by its own words. A step that does not say takes
    what is expected; beyond that, as long again as it has overrun, and others of its rule with it.
    """
    expected = expectation.of(steps)
    left = {name: said.get(name, abs(expected[name] - seconds)) for name, seconds in spent.items()}
    overrun = {name: seconds + left[name] for name, seconds in spent.items() if seconds > expected[name]}
    to_come = expectation.seeing(overrun).of(steps) if overrun else expected
    tasks = {
        name: Task(left.get(name, to_come[name]), step.after, step.needs, name in spent) for name, step in steps.items() if name not in done
    }
    return time_left(tasks, limits)


def time_left(tasks: Mapping[Hashable, Task], limits: Mapping[str, int]) -> float:
    """Seconds until all tasks are done, each started as soon as what it waits for is done and the resources allow.

    limits: how much there is of each resource; one that is not named is not limited. A task that asks for more than there is gets all.
    """
    waits = {key: sum(name in tasks for name in task.after) for key, task in tasks.items()}
    followers, ready, free, running, now = defaultdict(list), defaultdict(deque), dict(limits), [], 0.0
    for key, task in tasks.items():
        for name in task.after:
            followers[name].append(key)
        if not waits[key]:
            queue = ready[within(task.needs, limits)]
            queue.appendleft(key) if task.running else queue.append(key)
    while any(ready.values()) or running:
        for needs, queue in ready.items():
            while queue and all(free[name] >= amount for name, amount in needs):
                key = queue.popleft()
                free.update({name: free[name] - amount for name, amount in needs})
                heapq.heappush(running, (now + tasks[key].seconds, len(running), key, needs))
        if not running:
            return now
        now, _, key, needs = heapq.heappop(running)
        free.update({name: free[name] + amount for name, amount in needs})
        for name in followers[key]:
            waits[name] -= 1
            if not waits[name]:
                ready[within(tasks[name].needs, limits)].append(name)
    return now


def within(needs: Sequence[tuple[str, int]], limits: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """The needs that a limit speaks of, at most that limit."""
    return tuple((name, min(amount, limits[name])) for name, amount in needs if name in limits and amount)
