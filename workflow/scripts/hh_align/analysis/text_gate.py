"""What stands against a policy's text, beside every verdict about it: it is broken, or its training changed almost nothing.

A verdict is a judge's opinion of text, and a judge can be pleased by text that nobody can read. The limits are `analysis.text` of the
config; docs/statistics.md says where each comes from.
"""

from pathlib import Path

import numpy as np

from hh_align.analysis.ratings import seed_of
from hh_align.analysis.verdict import listed
from hh_align.core.artifacts import read_table
from hh_align.core.axes import PROMPT_KINDS

Examined = dict[tuple[str, int], dict]
"""(policy, seed) -> row of text.parquet"""

KINDS = tuple(PROMPT_KINDS.values())
BROKEN, UNMOVED = "its text is broken", "its training changed almost nothing"
FLAGS = {"broken": ("broken_why", BROKEN), "unmoved": ("unmoved_why", UNMOVED)}
"""Column of a flag -> the column that says why, and what it says of the policy."""
SHORT = {"broken": "broken text", "unmoved": "almost unchanged"}


def read_text(path: Path | None) -> Examined:
    """The rows of analysis/text.parquet; none where the study has none."""
    columns = ["policy", "seed", *FLAGS, *(why for why, _ in FLAGS.values())]
    rows = read_table(path, columns).to_pylist() if path else []
    return {(row["policy"], row["seed"]): row for row in rows}


def caveat_over_seeds(rows: list[dict]) -> str | None:
    """What stands against one policy, from its rows, one per seed; None where nothing does."""
    said = [say_flag([row for row in rows if row[flag]], len(rows), *words) for flag, words in FLAGS.items()]
    return "; ".join(filter(None, said)) or None


def say_flag(flagged: list[dict], seeds: int, column: str, words: str) -> str | None:
    """One flag in words with the first seed's reasons, and at which of the seeds it is set."""
    if not flagged:
        return None
    why = flagged[0][column]
    if seeds == 1:
        return f"{words}: {why}"
    numbers = [str(row["seed"]) for row in flagged]
    where = f"all {seeds} seeds" if len(numbers) == seeds else f"seed {' and '.join(numbers)} of {seeds}"
    return f"{words} at {where}: {why}" + (f" (seed {numbers[0]})" if len(numbers) > 1 else "")


def caveat_of(examined: Examined, config: dict, policy: str, seeds: list[int]) -> str | None:
    """What stands against a policy at these seeds of the study; None too for one that was not examined, such as a dataset's own reply."""
    return caveat_over_seeds(rows_of(examined, config, policy, seeds))


def rows_of(examined: Examined, config: dict, policy: str, seeds: list[int]) -> list[dict]:
    """A policy's rows, one per seed; one for all seeds where it serves them all."""
    if policy not in config["policies"]:
        return []
    keys = dict.fromkeys((policy, seed_of(config, policy, seed)) for seed in seeds)
    return [examined[key] for key in keys if key in examined]


def in_short(examined: Examined, config: dict, policies: list[str]) -> str | None:
    """Which of these policies have a caveat at the study's seeds, without numbers; None where none has."""
    said = []
    for flag, words in (("broken", "the text of {} is broken"), ("unmoved", "the training of {} changed almost nothing")):
        flagged = [name for name in policies if any(row[flag] for row in rows_of(examined, config, name, config["seeds"]))]
        said += [words.format(listed(flagged))] if flagged else []
    return "; ".join(said) or None


def why_broken(row: dict, against: list[dict], limits: dict, trained: bool) -> list[str]:
    """What of a policy's text lies beyond the limits (`analysis.text`), with the numbers; none where nothing does.

    row: a policy's measures; against: those of its parent and, where that is another, of the root; none for the root itself.
    trained: whether a training made it of its parent. Replies of one that is asked otherwise, or comes from elsewhere, end where they are asked to:
    neither their length nor how many are cut says that they are broken.
    """
    made_of = against if trained else []
    return [
        *beyond_share(row, "empty", "are empty", limits),
        *beyond_share(row, "repeating", "repeat themselves", limits),
        *more_cut(row, made_of, limits),
        *alike(row, limits),
        *other_length(row, made_of, limits),
        *far_away(row, against, limits),
    ]


def beyond_share(row: dict, measure: str, words: str, limits: dict) -> list[str]:
    """A share of the replies, to the prompts of one kind or of both, that is too large by itself."""
    beyond = [kind for kind in KINDS if row[f"{measure}_{kind}"] > limits[measure]]
    return [f"{shares(row, measure, beyond)} of its replies{to(beyond)} {words}"] if beyond else []


def more_cut(row: dict, against: list[dict], limits: dict) -> list[str]:
    """Replies that the length limit cuts, where they are so many more than the parent's, or else the root's.

    By itself the share says nothing: a protocol of 50 tokens cuts nearly every reply.
    """
    for other in against:
        known = [kind for kind in KINDS if None not in (row[f"cut_{kind}"], other[f"cut_{kind}"])]
        if beyond := [kind for kind in known if row[f"cut_{kind}"] - other[f"cut_{kind}"] > limits["cut_rise"]]:
            theirs = f"{shares(other, 'cut', beyond)} of {other['policy']}'s"
            return [f"{shares(row, 'cut', beyond)} of its replies{to(beyond)} are cut, {theirs}"]
    return []


def shares(row: dict, measure: str, kinds: list[str]) -> str:
    """`97 to 98 %`, or `98 %` where there is one, or both are the same."""
    return " to ".join(dict.fromkeys(f"{share:.0f}" for share in sorted(row[f"{measure}_{kind}"] for kind in kinds))) + " %"


def to(kinds: list[str]) -> str:
    """Which prompts are meant, where it is not both kinds."""
    return f" to {kinds[0]} prompts" if len(kinds) == 1 else ""


def alike(row: dict, limits: dict) -> list[str]:
    """One text that answers most prompts of both kinds."""
    return [f"one text makes {row['same']:.0f} % of its replies"] if row["same"] > limits["same"] else []


def other_length(row: dict, against: list[dict], limits: dict) -> list[str]:
    """Words per reply, where they are many times those of parent and root, or a small part of them."""
    for other in against:
        if row["words"] and other["words"] and max(ratio := row["words"] / other["words"], 1 / ratio) > limits["length_ratio"]:
            return [f"its replies have {row['words']:.1f} words, {other['policy']}'s {other['words']:.1f}"]
    return []


def far_away(row: dict, against: list[dict], limits: dict) -> list[str]:
    """The divergence from the root, or else the parent, beside that one's own entropy, and what the root makes of the policy's samples.

    Who always takes the most likely token of another policy is on average at most that policy's entropy away from it.
    """
    said = []
    for other, divergence in zip(against, (row["kl_parent"], row["kl_root"]), strict=False):
        if None not in (divergence, other["entropy"]) and divergence > limits["kl_ratio"] * other["entropy"]:
            said = [f"{divergence:.2f} nats per token from {other['policy']}, whose own entropy is {other['entropy']:.2f}"]
    if against and row["perplexity_root"] and against[-1]["perplexity_root"]:
        surprise, own = row["perplexity_root"], against[-1]["perplexity_root"]
        if surprise > limits["perplexity_ratio"] * own:
            said.append(f"its samples have a perplexity of {surprise:.3g} under {against[-1]['policy']}, whose own have {own:.3g}")
    return said


def what_changed(row: dict) -> str:
    """How much of its parent a policy still is: replies that are the same to the byte, divergence, and the margin of its pairs at the end."""
    parts = [f"{row['unchanged']} of {row['n']} replies are {row['parent']}'s"]
    parts += [] if row["kl_parent"] is None else [f"{one_digit(row['kl_parent'])} nats per token"]
    parts += [] if row["margin"] is None else [f"a margin of {one_digit(row['margin'])} at the end"]
    return ", ".join(parts)


def one_digit(value: float) -> str:
    """0.00002, never 2e-05"""
    return np.format_float_positional(value, precision=1, fractional=False, unique=False, trim="-")


def is_unmoved(row: dict, limits: dict) -> bool:
    """Whether a training changed almost nothing: by the divergence from the parent, or, where that is unknown, by the replies that are the parent's."""
    if row["kl_parent"] is not None:
        return row["kl_parent"] < limits["unmoved_kl"]
    return 100 * row["unchanged"] > limits["unchanged"] * row["n"]
