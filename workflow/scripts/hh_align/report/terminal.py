"""How a study ends in the terminal: a row per policy, what is decided, and where the report lies, in 25 lines of 100 columns.

Of what does not fit the least important is left out, and is in the report: first the error rates, then judges, last the policies beyond twenty.
Judges stand in the order of the config; a step's config has them by name.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import pandas as pd
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from hh_align.analysis.ratings import headline, judged_rates, shown_judge
from hh_align.analysis.verdict import corrected_by_labels, declared, error_rates, verdict_sentences
from hh_align.core.numbers import digits
from hh_align.report.kept import kept_lines
from hh_align.report.lines import (
    closing_lines,
    count_line,
    in_short,
    judge_lines,
    label_lines,
    marked,
    pairwise_lines,
    primary_line,
)

WIDTH, LINES = 100, 25
MARKED = "! behind a policy: the report says what stands against its text."


class Shape(NamedTuple):
    """How much is said."""

    sentences: bool = False
    """What is decided in sentences; else in numbers, by the judge that the figures show alone."""
    others: bool = True
    """What pairwise judges say, and that other judges stand in the report; else a word in the title."""
    tables: bool = False
    """The rates by every judge that is told; else by the judge that the figures show alone."""
    errors: bool = False
    """How often a verdict may be false."""
    kept: bool = False
    """What the primary's policy keeps of the helpful replies before it."""
    judged: bool = False
    """How good the judges are where people have decided."""
    caveats: bool = True
    """Why the text of which policy is not to be trusted; else one note for all."""
    notes: bool = True
    """What speaks against policies and judges; else a mark in the table, and words in its title."""
    counts: bool = True
    """How the contrasts beside the primary end."""
    judges: int = 1
    """How many are told."""


SHAPES = (
    Shape(sentences=True, tables=True, errors=True, kept=True, judged=True),
    Shape(sentences=True, tables=True, kept=True, judged=True),
    Shape(sentences=True, tables=True, kept=True),
    Shape(sentences=True, kept=True),
    Shape(tables=True, kept=True),
    Shape(sentences=True, tables=True, judged=True),
    Shape(sentences=True, judged=True),
    Shape(sentences=True, tables=True),
    Shape(sentences=True),
    Shape(sentences=True, caveats=False),
    Shape(tables=True),
    Shape(),
    Shape(caveats=False),
    Shape(others=False),
    Shape(notes=False),
    Shape(others=False, notes=False),
    Shape(others=False, notes=False, counts=False),
)
"""From the most to the least, of one judge."""


class Study(NamedTuple):
    """What the end is made of: the config, the analysis tables, policy -> metric -> the paper's value, what stands against policies' texts, and
    what is said of the report, with {folder} in the place of its folder."""

    config: dict
    tables: dict[str, pd.DataFrame]
    published: dict
    told: dict[str, str]
    look: str


@dataclass(frozen=True)
class Opinion:
    """A judge's name and rates, as lines of a table, whether the published values stand beside them, and the contrasts with their verdicts: the
    primary's and the others' in numbers, and all in sentences."""

    judge: str
    table: list[str]
    published: bool
    decided: pd.DataFrame
    primary: str
    counts: str

    @cached_property
    def sentences(self) -> list[str]:
        return list(map(in_short, verdict_sentences(self.decided)))


def shapes(judges: int) -> Iterator[Shape]:
    """From the most to the least: all judges in sentences, then fewer, then one."""
    for told in range(judges, 1, -1):
        yield from (shape._replace(judges=told) for shape in SHAPES if shape.sentences)
    yield from SHAPES


def ending(study: Study) -> list[str]:
    """The lines: the first shape that fits, and of more than twenty policies the first ones."""
    order, judges = study.config["order"], study.config["judges"]
    opinions = {judge: opinion_of(study, judge, order) for judge in judges}
    for shape in shapes(len(judges)):
        if len(lines := in_shape(study, shape, opinions)) <= LINES:
            return lines
    kept = max(1, len(order) - (len(lines) - LINES) - 1)
    for judge, opinion in opinions.items():
        table = [*rate_lines(study, judge, order[:kept])[0], f"and {len(order) - kept} more policies: the report has them."]
        opinions[judge] = replace(opinion, table=table)
    return in_shape(study, SHAPES[-1], opinions)


def opinion_of(study: Study, judge: str, order: list[str]) -> Opinion:
    decided = corrected_by_labels(declared(study.tables["comparisons"], judge), study.tables["gold"], judge)
    return Opinion(judge, *rate_lines(study, judge, order), decided, primary_line(decided, study.told), count_line(decided))


def in_shape(study: Study, shape: Shape, opinions: dict[str, Opinion]) -> list[str]:
    """Tables, notes, verdicts and the report's place, wrapped to WIDTH."""
    config = study.config
    ranked = sorted(opinions, key=lambda judge: judge != shown_judge(config["judges"]))
    told = [opinion for judge, opinion in opinions.items() if judge in ranked[: shape.judges]]
    kept = first_kept(study, ranked) if shape.kept else []
    blocks = [[line for text in kept for line in ([text] if cell_len(text) <= WIDTH else wrapped(text))]]
    tables = told if shape.tables else [opinions[judge] for judge in ranked[:1]]
    blocks += [[*wrapped(title(study, opinion, shape)), *opinion.table] for opinion in tables]
    notes = [line for text in notes_of(study, shape) for line in wrapped(text)] if shape.notes else []
    verdicts = [line for text in verdicts_of(study, shape, told) for line in wrapped(text)]
    blocks += [notes, [*verdicts, *wrapped(study.look.format(folder=f"{config['folder']}/report"))]]
    blocks = [block for block in blocks if block]
    return [line for number, block in enumerate(blocks) for line in ([""] if number and shape.notes else []) + block]


def first_kept(study: Study, judges: list[str]) -> list[str]:
    """What training keeps, by the first of the judges that says something of helpfulness."""
    primary, tables = study.config.get("primary", []), study.tables
    told = (kept_lines(tables["retention"], declared(tables["comparisons"], judge), judge, primary, study.told) for judge in judges)
    return next(filter(None, told), [])


def notes_of(study: Study, shape: Shape) -> list[str]:
    caveats = [f"! {policy}: {caveat}." for policy, caveat in study.told.items()]
    return [*(caveats if shape.caveats else caveats[:1] and [MARKED]), *closing_lines(study.config)]


def verdicts_of(study: Study, shape: Shape, told: list[Opinion]) -> Iterator[str]:
    """What is decided: by pairwise judges, by each judge that is told, and who else stands in the report."""
    config, tables = study.config, study.tables
    for opinion in told if shape.judged else []:
        yield from judge_lines(tables["judge"], opinion.judge) + label_lines(tables["label_agreement"], opinion.judge)
    for judge in sorted(config.get("pairwise", {})) if shape.others or not told else []:
        yield from pairwise_lines(tables["comparisons"], tables["pairwise"], judge, study.told)
    several = len(config["judges"]) > 1
    rates = [error_rates(opinion.decided) if shape.errors else [] for opinion in told]
    alike = len(told) > 1 and all(each == rates[0] for each in rates)
    for opinion, each in zip(told, rates, strict=True):
        yield from verdict_of(opinion, shape, several)
        yield from [] if alike else each
    yield from [text.replace("Error rates:", "Error rates by each judge:", 1) for text in rates[0]] if alike else []
    if shape.others and (left := [judge for judge in config["judges"] if judge not in {opinion.judge for opinion in told}]):
        yield f"{f'Judge {left[0]} stands' if len(left) == 1 else f'{len(left)} more judges stand'} in the report."


def verdict_of(opinion: Opinion, shape: Shape, several: bool) -> Iterator[str]:
    """What one judge decides; of several judges behind its name, which the title has where there is no room."""
    counts = opinion.counts if shape.counts and (several or not shape.sentences) else ""
    if said := "; ".join(filter(None, [opinion.primary, counts])):
        by = f"By judge {opinion.judge}: " if several and (shape.others or shape.counts) else ""
        yield f"{by}{said[0].upper()}{said[1:]}."
    if shape.sentences:
        yield from opinion.sentences


def wrapped(text: str) -> list[str]:
    """Lines of WIDTH, broken at spaces only: a path or a name is never cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(f"{lines[-1]} {word}") <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def rate_lines(study: Study, judge: str, order: list[str]) -> tuple[list[str], bool]:
    """(policies by the judge's rates (HmR, HpR, CAS) with 95 % intervals, whether the published values stand behind a `|`): in whole points,
    and without the published values, where the names leave no room."""
    theirs = {policy: rates for policy, rates in study.published.items() if policy in order}
    for digit, published in ((1, theirs), (0, theirs), (1, {}), (0, {})):
        lines = drawn(rate_table(study, judge, order, digit, published), 10 * WIDTH)
        if max(map(cell_len, lines)) <= WIDTH:
            return lines, bool(published)
    return drawn(rate_table(study, judge, order, 0, {}), WIDTH), False


def title(study: Study, opinion: Opinion, shape: Shape) -> str:
    """What the rates are; where the notes are left out, what they would say, in a word; the study's name, unless it leaves no room."""
    config = study.config
    seeds, judges = len(config["seeds"]), len(config["judges"])
    who = f"judge {opinion.judge}" + (f" of {judges}" if judges > 1 and not shape.others else "")
    about = [who, *([f"over {seeds} seeds"] if seeds > 1 else [])]
    if not shape.notes:
        about += [*(["synthetic data"] if config["synthetic"] else []), *(["! see the report"] if study.told else [])]
    shown = f"95 % intervals{' | published' if opinion.published else ''} ({', '.join(about)})"
    short = f"in % [95 %] ({', '.join(about)})".replace("over ", "").replace("synthetic data", "synthetic").replace("see the", "see")
    texts = [f"{config['study']}: rates in %, {shown}", f"rates in %, {shown}", short]
    return next((text for text in texts if cell_len(text) <= WIDTH), texts[0 if shape.notes else -1])


def rate_table(study: Study, judge: str, order: list[str], digit: int, published: dict) -> Table:
    rows, rates = headline(study.tables["metrics"], judge).to_dict("index"), list(judged_rates(study.config["judges"][judge]))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("policy", overflow="fold")
    for metric in rates:
        table.add_column(metric, justify="right", no_wrap=True)
    for policy in order:
        cells = [rate_cell(rows[policy, metric], digit) for metric in rates]
        theirs = published.get(policy, {})
        beside = [f" | {digits(theirs[metric], '.0f')}" if metric in theirs else "" for metric in rates]
        table.add_row(marked(policy, study.told), *(ours + other for ours, other in zip(cells, beside, strict=True)))
    return table


def rate_cell(row: Mapping[str, float], digit: int = 1) -> str:
    """`54.0 [46.8, 61.0]`, or `54 [47, 61]`; `[-]` where there is no interval."""
    value, low, high = (digits(row[name], f".{digit}f") for name in ("value", "ci_low", "ci_high"))
    return f"{value} [-]" if pd.isna(row["ci_low"]) else f"{value} [{low}, {high}]"


def drawn(table: Table, width: int) -> list[str]:
    """A table as lines of text."""
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, markup=False, emoji=False, highlight=False).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]
