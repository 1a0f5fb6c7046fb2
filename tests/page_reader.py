"""A reader of the report's page that holds its numbers, tables and texts to the artifacts that they name."""

import json
import re
from decimal import Decimal
from functools import cache
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq


class Numbers(HTMLParser):
    """Collects a page's elements with a source (attributes and text), and the text that stands outside them."""

    QUIET = ("style", "script", "svg", "pre", "code", "figcaption")

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.sourced: list[tuple[dict, str]] = []
        self.loose, self.quiet, self.inside = "", 0, False
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.quiet += tag in self.QUIET
        if "data-artifact" in dict(attributes):
            self.inside = True
            self.sourced.append((dict(attributes), ""))

    def handle_endtag(self, tag: str) -> None:
        self.quiet -= tag in self.QUIET
        if tag in ("data", "span"):
            self.inside = False

    def handle_data(self, text: str) -> None:
        if self.inside:
            attributes, before = self.sourced[-1]
            self.sourced[-1] = (attributes, before + text)
        elif not self.quiet:
            self.loose += text + " "


@cache
def table_at(path: Path, date: int) -> pd.DataFrame:
    """An artifact as it is at a date."""
    return pq.read_table(path).to_pandas()


def in_artifact(folder: Path, source: dict) -> object:
    """What the artifact holds at the place that an element names."""
    path, column = folder / source["data-artifact"], source["data-column"]
    if path.suffix == ".json":
        return json.loads(path.read_text())[column]
    if path.suffix == ".tsv":
        return pd.read_csv(path, sep="\t")[column].iloc[-1]
    frame = table_at(path, path.stat().st_mtime_ns)
    if "data-how" not in source:
        return frame[column].iloc[int(source["data-at"])]
    query = source["data-query"]
    frame = frame.explode("flags") if query.startswith("flags") else frame
    return (frame.query(query) if query else frame)[column].agg(source["data-how"])


def untrue(page: Path) -> list[str]:
    """The page's numbers that are not their artifact's: another value, or a text that is no rounding of it. Raises where there is none."""
    sourced = Numbers(page).sourced
    assert len(sourced) > 100
    faults = []
    for source, text in sourced:
        value = in_artifact(page.parents[1], source)
        if "value" not in source:
            faults += [] if text == value else [f"{source}: {text!r} is not {value!r}"]
            continue
        if float(source["value"]) != float(value) or not is_rounded(text, value):
            faults.append(f"{source}: {text} is not {value}")
    return faults


def unsourced(page: Path) -> set[str]:
    """Decimal numbers of the page's text, and any number in a table's cells, that name no artifact and stand neither in the config nor among the versions."""
    source = page.read_text(encoding="utf-8")
    known = source[source.index('id="versions"') :] + " 0.05"
    decimals = r"\d+\.\d+"
    cells = [cell["text"] for table in tables_of(page) for row in table["rows"] for cell in row if not cell["words"]]
    return (set(re.findall(decimals, Numbers(page).loose)) - set(re.findall(decimals, known))) | set(re.findall(r"\d+", " ".join(cells)))


class Tables(HTMLParser):
    """Collects a page's tables: label, caption, heads, and rows of cells: the text outside numbers, whether it is a cell of words, the numbers."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tables: list[dict] = []
        self.label, self.part, self.within, self.marks = "", "", False, 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list) -> None:
        named = dict(attributes)
        self.marks += tag == "span" and (self.marks > 0 or named.get("class") == "caveat")
        if tag == "div":
            self.label = named.get("aria-label", self.label)
        elif tag == "table":
            self.tables.append({"label": self.label, "caption": "", "heads": [], "rows": []})
        elif tag in ("caption", "thead", "tbody"):
            self.part = tag
        elif tag == "tr" and self.part == "tbody":
            self.tables[-1]["rows"].append([])
        elif tag == "th" and self.part == "thead":
            self.tables[-1]["heads"].append("")
        elif tag in ("th", "td"):
            words = tag == "th" or "text" in named.get("class", "").split()
            self.tables[-1]["rows"][-1].append({"text": "", "words": words, "numbers": []})
        elif tag == "data":
            self.within = True
            self.tables[-1]["rows"][-1][-1]["numbers"].append([named, ""]) if self.part == "tbody" else None

    def handle_endtag(self, tag: str) -> None:
        self.within &= tag != "data"
        self.marks -= tag == "span" and self.marks > 0
        if tag in ("caption", "table"):
            self.part = ""

    def handle_data(self, text: str) -> None:
        if self.marks:  # what stands against a policy's text is no part of a cell
            return
        if self.part == "caption":
            self.tables[-1]["caption"] += text
        elif self.part == "thead" and self.tables[-1]["heads"]:
            self.tables[-1]["heads"][-1] += text.strip()
        elif self.part == "tbody" and self.tables[-1]["rows"] and self.tables[-1]["rows"][-1]:
            cell = self.tables[-1]["rows"][-1][-1]
            if self.within:
                cell["numbers"][-1][1] += text
            else:
                cell["text"] = f"{cell['text']} {text.strip()}".strip()


def tables_of(page: Path) -> list[dict]:
    return Tables(page).tables


def is_rounded(text: str, value: float) -> bool:
    """Whether a number as shown is a value, rounded."""
    shown = Decimal(text.replace(",", "").replace("−", "-"))
    reach = Decimal(1).scaleb(shown.as_tuple().exponent) / 2
    return abs(shown - Decimal(float(value))) <= reach * Decimal("1.000001")


def only(frame: pd.DataFrame, **where: object) -> pd.Series | None:
    """The one row with these values, of several seeds that for new seeds; None where there is none."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    if "seed" in frame and frame["seed"].isna().any():
        frame = frame[frame["seed"].isna() & (frame["estimand"] == "new seeds")]
    assert len(frame) < 2, where
    return frame.iloc[0] if len(frame) else None


def elsewhere(page: Path) -> list[str]:
    """Cells of the rates and contrasts whose numbers are not those of the judge, policies and metric that caption, row and column name."""
    folder = page.parents[1] / "analysis"
    tables = {path.stem: pq.read_table(path).to_pandas() for path in folder.glob("*.parquet")}
    metrics, compared = tables["metrics"], tables["comparisons"]
    published = tables.get("agreement", pd.DataFrame(columns=["judge", "policy", "metric"]))
    compared = compared[compared["family"].isin(["primary", "declared"])]
    faults, read = [], 0
    for table in tables_of(page):
        if not table["label"].startswith(("Rates by judge", "Contrasts by judge")):
            continue
        judge = re.search(r"by judge (\w+)", table["caption"])[1]
        for (first, *cells), head in product(table["rows"], [table["heads"][1:]]):
            for name, cell in zip(head, cells, strict=True):
                if not cell["numbers"]:
                    continue
                key = {"judge": judge, "metric": name.replace("mean reward,", "mean_reward_")}
                if table["label"].startswith("Rates"):
                    key["policy"] = first["text"]
                    row, theirs = only(metrics, **key), only(published, **key)
                    expected = [row["value"], row["ci_low"], row["ci_high"], *([] if theirs is None else [theirs["published"]])]
                else:
                    key |= dict(zip(("policy_b", "policy_a"), first["text"].split(" − "), strict=True))
                    row = only(compared.drop_duplicates([*key, "seed"]), **key)
                    expected = [row["difference"], row["sim_low"], row["sim_high"]]
                shown = [text for _, text in cell["numbers"]]
                read += len(shown)
                if len(shown) != len(expected) or not all(map(is_rounded, shown, expected)):
                    faults.append(f"{key}: {shown} is not {expected}")
    assert read > 30
    return faults


def mislabelled(page: Path) -> list[str]:
    """Columns of the page's plain tables that do not show one and the same column of the artifact's rows, and texts beside numbers of another row."""
    faults = []
    for table in tables_of(page):
        if not table["label"].startswith("Table "):
            continue
        rows = []
        for cells in table["rows"]:
            sources = {(source["data-artifact"], source["data-at"]) for cell in cells for source, _ in cell["numbers"]}
            if not sources:  # a row that ranks nothing shows no number
                continue
            (path, at), *others = sources
            faults += [f"{table['label']}: a row shows {others} too"] if others else []
            rows.append((cells, table_at(page.parents[1] / path, (page.parents[1] / path).stat().st_mtime_ns).iloc[int(at)]))
        for number, head in enumerate(table["heads"] if rows else ()):
            column = [(cells[number], row) for cells, row in rows]
            if column[0][0]["words"]:
                told = set.intersection(
                    *(
                        {name for name, value in row.items() if cell["text"] == ("" if pd.isna(value) else str(value))}
                        for cell, row in column
                    )
                )
            else:
                told = {source["data-column"] for cell, _ in column for source, _ in cell["numbers"][:1]}
            fits = told if column[0][0]["words"] else len(told) <= 1  # no number: unknown in every row
            faults += [] if fits else [f"{table['label']}: {head} shows {told}"]
    return faults


def reported(page):
    """path -> caption, category and labels of each item of Snakemake's own report."""
    text = page.read_text()
    results, categories = (json.loads(re.search(rf"var {name} = (\{{.*);\n", text)[1]) for name in ("results", "categories"))
    places = {path: category for category, parts in categories.items() for paths in parts.values() for path in paths}
    return {path: item | {"category": places[path]} for path, item in results.items()}
