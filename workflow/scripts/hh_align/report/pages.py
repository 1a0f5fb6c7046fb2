"""What the HTML pages share: templates that escape everything, numbers that say where they come from."""

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined, Template
from jinja2.bccache import Bucket
from markupsafe import Markup

from hh_align.analysis.ratings import shown_judge
from hh_align.core.numbers import digits

UNKNOWN = Markup('<span class="unknown" title="unknown">–</span>')
LEGIBLE = 0.8  # of the width that a figure was drawn at
DATA = Markup('<data value="{}" data-artifact="{}" data-at="{}" data-column="{}"{}>{}</data>')
TEXT = Markup('<span data-artifact="{}" data-at="{}" data-column="{}">{}</span>')

BY_ONE_JUDGE = {
    "metrics",
    "rewards",
    "mean_rewards",
    "contrasts",
    "wins",
    "thresholds",
    "tradeoff",
    "retention",
    "drift",
    "sweep",
    "snapshots",
}
"""Figures of what one of the judges says."""
TEMPLATES = Path(__file__).with_name("templates")
"""Of pages that no rule makes: a link to workflow/report, so that they are installed with the package."""


def render(templates: Path, name: str, **context: object) -> str:
    """The template `name` of a folder, filled in; whatever is not Markup is escaped, an unknown name is an error."""
    return _pages_of(templates).get_template(name).render(context)


class Compiled(FileSystemBytecodeCache):
    """Compiled templates in the user's own folder of the system's temporary one; what finds no place there is compiled every time."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().dump_bytecode(bucket)


@cache
def _pages_of(templates: Path) -> Environment:
    compiled = None
    with suppress(OSError, RuntimeError):  # no such folder can be made, or it is somebody else's
        compiled = Compiled()
    loader = FileSystemLoader(templates)
    return Environment(
        loader=loader, bytecode_cache=compiled, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def render_text(template: Path, **context: object) -> str:
    """A template that makes plain text or Markdown, filled in; an unknown name is an error."""
    return _text_of(template.read_text(encoding="utf-8")).render(context)


@cache
def _text_of(source: str) -> Template:
    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source)


def caption(templates: Path, figure: str, config: dict) -> str:
    """The caption that Snakemake's own report gives a figure, as plain text; of several judges the name of the one that it shows."""
    text = " ".join(render_text(templates / f"{figure}.rst", snakemake={"config": config}).split())
    judges = config.get("judges", {})
    return f"{text} By judge {shown_judge(judges)}." if figure in BY_ONE_JUDGE and len(judges) > 1 else text


def records(frame: pd.DataFrame, artifact: str) -> pd.DataFrame:
    """An artifact's rows that remember where they stand in it, through every selection."""
    return frame.assign(_artifact=artifact, _at=range(len(frame)))


def plain(frame: pd.DataFrame) -> list[dict]:
    """Rows as dicts, None where a value is unknown."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def rows_of(tables: dict[str, pd.DataFrame], name: str, **where: object) -> list[dict]:
    """The rows of a table that have these values (None: unknown); none where the study lacks the table."""
    if name not in tables:
        return []
    frame = tables[name]
    for column, value in where.items():
        frame = frame[frame[column].isna() if value is None else frame[column] == value]
    return plain(frame)


def number(row: Mapping, column: str, form: str = ".1f") -> Markup:
    """One value of an artifact as text in Python's format `form`, with artifact, row and column beside it; a dash where it is unknown."""
    value = row[column]
    if pd.isna(value):
        return UNKNOWN
    return DATA.format(repr(float(value)), row["_artifact"], row["_at"], column, "", digits(value, form).replace("-", "−"))


def text(row: Mapping, column: str) -> Markup:
    """A text of an artifact, with artifact, row and column beside it."""
    return TEXT.format(row["_artifact"], row["_at"], column, row[column])


def total(frame: pd.DataFrame, artifact: str, column: str, how: str, form: str = ",.0f", query: str = "") -> Markup:
    """The `how` (sum, mean, count, …) of a column over the rows that a pandas query keeps."""
    value = float((frame.query(query) if query else frame)[column].agg(how))
    beside = Markup(' data-how="{}" data-query="{}"').format(how, query)
    return DATA.format(repr(value), artifact, "", column, beside, digits(value, form).replace("-", "−"))


def inline_svg(text: str, name: str, label: str) -> Markup:
    """An SVG file as a part of a page: no header, ids of its own, a name for those who do not see it, and no smaller than legible."""
    body = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for before, after in ((r'id="', f'id="{name}-'), (r"url\(#", f"url(#{name}-"), (r'href="#', f'href="#{name}-')):
        body = re.sub(before, after, body)
    width = LEGIBLE * float(re.search(r'width="([\d.]+)pt"', body)[1])
    head = Markup('<svg role="img" aria-label="{}" style="min-width: {:.0f}pt"').format(label, width)
    return Markup(body.replace("<svg", head, 1))


def with_values(config: dict, values: str | None) -> dict:
    """A page's config, whose printed commands end with the run's values of --config, too."""
    return {**config, "options": config["options"] + (values or "")}
