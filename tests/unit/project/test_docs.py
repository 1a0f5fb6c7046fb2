"""The documentation: it builds strictly from the code, says what the code says, and fetches nothing from elsewhere."""

import ast
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from configs import SCHEMA, load
from study_folder import REPOSITORY

from hh_align.config.resolve import resolve

DOCS = REPOSITORY / "docs"
CONFIGS = sorted(path.stem for path in (REPOSITORY / "config").glob("*.yaml"))
PAGES = [*sorted(DOCS.glob("*.md")), *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "config/README.md"))]
EXAMPLES = {"config/mine.yaml", "data/mine"}


class Page(HTMLParser):
    """Addresses that a browser fetches by itself, and texts of <code>."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched, self.codes, self.inside = [], [], False
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.fetched += [address for name in ("src", "srcset", "poster") if (address := attributes.get(name))]
        if tag == "link" and attributes.get("rel") != "canonical":
            self.fetched.append(attributes["href"])
        self.inside = tag == "code" or self.inside
        self.codes += [""] * (tag == "code")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "code"

    def handle_data(self, data):
        if self.inside:
            self.codes[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages; a broken link, anchor or table is an error of the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_pages_fetch_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list(DOCS.glob("*.md")))
    assert [address for page in pages for address in Page(page).fetched if re.match(r"(https?:)?//", address)] == []


def paths_in(value, path=()):
    """Every path of keys in a config; an entry of a list of mappings is `[]`."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield (*path, key)
            yield from paths_in(entry, (*path, key))
    elif isinstance(value, list):
        for entry in value:
            yield from paths_in(entry, (*path[:-1], f"{path[-1]}[]"))


def properties_in(node):
    """Every key that the schema names, wherever it stands."""
    if isinstance(node, dict):
        for key, entry in node.items():
            if key == "properties":
                yield from (name for name, what in entry.items() if what)
            if key != "if":
                yield from properties_in(entry)
    elif isinstance(node, list):
        for entry in node:
            yield from properties_in(entry)


def test_every_key_of_the_schema_is_in_the_reference(site):
    documented = Page(site / "configuration.html").codes
    last = {code.split(".")[-1] for code in documented}
    assert set(properties_in(yaml.safe_load(SCHEMA.read_text()))) - last == set()


def test_no_meaning_is_cut_at_a_comma():
    # in a YAML flow mapping a comma ends an unquoted text, and what follows it is a key without a value
    def keys_without_value(node):
        for key, entry in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            yield from [key] if entry is None and isinstance(node, dict) else keys_without_value(entry)

    assert list(keys_without_value(yaml.safe_load(SCHEMA.read_text()))) == []


def test_every_key_says_what_it_means():
    schema = yaml.safe_load(SCHEMA.read_text())

    def silent(node):
        for key, entry in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            for name, what in entry.items() if key == "properties" else ():
                target = schema["$defs"][what["$ref"].split("/")[-1]] if "$ref" in what else what
                if what and "description" not in {**target, **what}:
                    yield name
            if key != "if":
                yield from silent(entry)

    assert set(silent(schema)) <= {"source", "trainer"}  # their values say it


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_of_a_study_is_in_the_reference_with_its_path(site, name):
    # defaults included: what a study can hold is documented where it holds it
    documented = {tuple(code.split(".")) for code in Page(site / "configuration.html").codes}

    def known(path):
        return any(
            len(path) == len(keys) and all(key in ("<name>", asked) for key, asked in zip(keys, path, strict=True)) for keys in documented
        )

    free = ("release", "sums"), ("release", "policies")  # mappings of texts
    asked = [path for path in paths_in(resolve(load(name), SCHEMA)) if len(path) < 3 or path[:2] not in free]
    assert [".".join(path) for path in asked if not known(path)] == []


def templates(path):
    """The texts of a Python file, `…` in the place of every value."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_message_in_troubleshooting_is_one_of_the_code():
    headings = re.findall(r"^### `(.*)`$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    snakemake = Path(find_spec("snakemake").origin).parent / "exceptions.py"
    scripts = REPOSITORY / "workflow/scripts"
    files = [
        *scripts.rglob("*.py"),
        *(REPOSITORY / "workflow/rules/common").glob("*.smk"),
        snakemake,
    ]
    known = [text for path in files for text in templates(path)]
    assert len(headings) >= 20
    assert [heading for heading in headings if not any(heading in text for text in known)] == []


def test_the_overview_of_artifacts_names_every_table_of_the_analysis():
    page = (DOCS / "artifacts.md").read_text()
    tables = re.findall(r"^### analysis/(\w+)\.parquet$", page, re.MULTILINE)
    listed = page.split("| in `analysis/` | |")[1].split("\n\n")[0]
    assert len(tables) > 20
    assert [name for name in tables if f"`{name}`" not in listed] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_path_and_module_that_a_page_names_is_in_the_repository(page):
    text = page.read_text().replace("</", " </")  # a path ends before the tag that closes it
    named = set(re.findall(r"(?<![\w/.-])((?:config|docs|profiles|resources|tests|workflow)/[\w./*<>-]*[\w/>])", text))
    modules = {f"workflow/scripts/{name.replace('.', '/')}" for name in re.findall(r"\bhh_align(?:\.\w+)+\.\w+", text)}
    paths = {re.sub("<[^>]+>", "*", path) for path in named - EXAMPLES} | {f"{path}.py" for path in modules}
    assert [path for path in sorted(paths) if "count_words" not in path and not [*REPOSITORY.glob(path)]] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (REPOSITORY / name).read_text())
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert local
    assert [link for link in local if not (REPOSITORY / link).exists()] == []


def test_pictures_have_the_sizes_in_which_they_are_taken():
    # else the next picture looks another way, or the page was written for one that nobody can take again
    (sizes,) = re.findall(r"^SIZES = (\{.*?^\})", (DOCS / "screenshots.py").read_text(), re.MULTILINE | re.DOTALL)
    heads = {path.stem: path.read_bytes()[16:24] for path in (DOCS / "images").glob("*.png")}
    assert heads and {name: struct.unpack(">II", head) for name, head in heads.items()}.items() <= ast.literal_eval(sizes).items()
