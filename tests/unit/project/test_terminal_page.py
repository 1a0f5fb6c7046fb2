"""docs/terminal.md shows what a run of the demo shows, with the times that README says."""

import io
import re
from pathlib import Path

from study_folder import REPOSITORY

from hh_align.tools.console import Board
from hh_align.tools.expected import Step

PAGE = (REPOSITORY / "docs/terminal.md").read_text(encoding="utf-8")
CLOCK = r"\d\d:\d\d:\d\d"


def blocks():
    return [text.splitlines() for text in re.findall(r"```\n(.*?)\n```", PAGE, re.DOTALL)]


def seconds(text):
    hours, minutes, rest = map(int, text.split(":"))
    return 3600 * hours + 60 * minutes + rest


def first_line(study, names, like_demo):
    stream = io.StringIO()
    Board(Path("results", study), {name: Step(Path(name)) for name in names}, {}, stream, like_demo)
    return stream.getvalue().strip()


def test_the_demo_on_the_page_takes_as_long_as_readme_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (first, progress, *_, last) = blocks()[0]
    least, most = map(int, re.search(r"offline \((\d+) to (\d+) minutes on 2 cores\)", (REPOSITORY / "README.md").read_text()).groups())
    steps = int(re.match(r"demo: (\d+) steps, ", first)[1])
    printed = first_line("demo", [f"train_sft/{number}" for number in range(steps)], like_demo=True)
    assert re.sub(CLOCK, "", first) == re.sub(CLOCK, "", printed)
    percent, gone, left = re.match(
        rf"demo: (\d+) % of the time, \d+ of {steps} steps, ({CLOCK}) gone, about ({CLOCK}) left; ", progress
    ).groups()
    assert int(percent) == round(100 * seconds(gone) / (seconds(gone) + seconds(left)))
    taken = re.fullmatch(rf"demo: {steps} steps done in ({CLOCK})\.", last)[1]
    for total in (seconds(re.search(CLOCK, first)[0]), seconds(gone) + seconds(left), seconds(taken)):
        assert least <= round(total / 60) <= most


def test_the_unknown_time_on_the_page_is_said_in_a_runs_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, progress = next(lines for lines in blocks() if lines[0].startswith("paper: "))
    steps = re.match(r"paper: (\d+) steps\. ", first)[1]
    assert first == first_line("paper", [f"train_sft/{number}" for number in range(int(steps))], like_demo=False)
    assert re.match(rf"paper: \d+ of {steps} steps, {CLOCK} gone; \S+ {CLOCK}$", progress)
