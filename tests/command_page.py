"""docs/command-line.md: what `hh-align` says of itself, and what is the same for all its commands.

PYTHONPATH=workflow/scripts:tests python tests/command_page.py writes the page anew.
"""

from pathlib import Path

import click

from hh_align.cli import app

PAGE = Path(__file__).resolve().parent.parent / "docs/command-line.md"
MAKE = {
    "verdict": "make verdict RESPONSES=ratings.csv",
    "demo": "make demo",
    "study": "make study",
    "published": "make published",
    "resume": "make resume STUDY=demo",
    "status": "make status STUDY=demo",
    "verify": "make verify STUDY=demo",
    "annotate": "make annotate STUDY=demo",
    "compare": "make compare STUDIES='a b'",
    "clean": "make clean-state STUDY=demo",
    "tune": "make tune STUDY=demo METHOD=sft",
    "fetch": "make fetch ARTIFACT=results/demo/report",
}
HEAD = """# The command hh-align

One command for what one does with a study. It runs Snakemake and prints the words that it gives it; `snakemake --cores all` does the same without it.

| command | what it does | with make |
|---|---|---|
{rows}

**Installing.** `make env` sets up `.venv` with everything, and `.venv/bin/hh-align` in it; `. .venv/bin/activate` puts it on the path. `pip install .` gives
the command without torch and Snakemake, 700 MB: `verdict`, `status`, `verify`, `annotate`, `compare` (but `--axis size`) and `clean` need no more. The others say what is missing;
`pip install '.[study]'` brings it. Any Python from 3.11 to 3.13 will do.

**Where it works.** Studies lie in `results/` of the working directory. The workflow is that of the working directory where it is a checkout; elsewhere that of
`HH_ALIGN_CHECKOUT`, or the one from which the package was installed as editable. `python -m hh_align.cli` is the same command.

**Snakemake's options** stand behind the command's own arguments, and targets behind `--`: `hh-align demo -n`, `hh-align run mine.yaml --keep-going -- policies`.

**Exit status.** 0: done. 1: refused or failed, with one message that says what, where and what to do. 2: the words cannot be read. 130: stopped by
Ctrl-C. A command that runs Snakemake ends with its status: 1 where its jobs could end after Ctrl-C, 130 where a second one ended it at once.
A command, a study, a config or a method whose name is mistyped is answered with the one that is nearest.

"""


def help_of(command: click.Command) -> str:
    """What `--help` prints of a command, 100 columns wide."""
    context = click.Context(command, info_name=f"hh-align {command.name}", terminal_width=100, help_option_names=["-h", "--help"])
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def page() -> str:
    """The page's text."""
    about = {name: command.get_short_help_str(200) for name, command in app.commands.items()}
    rows = "\n".join(f"| [`{name}`](#{name}) | {said} | {f'`{MAKE[name]}`' if name in MAKE else ''} |" for name, said in about.items())
    sections = (f"## {name}\n\n```text\n{help_of(command)}\n```\n" for name, command in app.commands.items())
    return HEAD.format(rows=rows) + "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
