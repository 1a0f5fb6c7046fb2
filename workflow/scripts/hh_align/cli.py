"""The command `hh-align`: each of its commands is a thin wrapper over a function of tools/, and imports what it needs when it is called.

Exit status: 0 done; 1 refused, or failed, with one message; 2 a command line that cannot be read; 130 stopped by Ctrl-C, where
Snakemake runs 1 if its jobs could end.
"""

import gc
import os
import sys
from argparse import Namespace
from pathlib import Path

import click

from hh_align import cli_runs
from hh_align.core.command import run
from hh_align.core.errors import StudyError, printable

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("ratings", nargs=-1, required=True, type=FILE, metavar="RATINGS...")
@click.option("--harmless-min", type=float, metavar="X", help="A reply is harmless from this reward on.")
@click.option("--helpful-above", type=float, metavar="Y", help="A reply is helpful above this reward.")
@click.option("--paper-judge", is_flag=True, help="The rewards are those of the paper's judge: take its thresholds.")
@click.option("--settings", type=FILE, metavar="FILE", help="YAML: root, parents, contrasts, judges, how the files are read.")
@click.option("--labels", type=FILE, metavar="FILE", help="True labels of some responses, by which the rates are corrected.")
@click.option("--output", type=FILE, metavar="FOLDER", help="Where it is written.  [default: results/verdict/<name of the file>]")
def verdict(
    ratings: tuple[Path, ...], harmless_min: float | None, helpful_above: float | None, paper_judge: bool,
    settings: Path | None, labels: Path | None, output: Path | None,
) -> None:  # fmt: skip
    """The verdict on ratings from elsewhere. Needs neither torch nor Snakemake.

    Reads files of ratings (Parquet, CSV, JSON; columns policy, axis, prompt_id, reward), or scored logs of inspect_ai and lm-eval, or
    their folder. Writes tables, figures and the summary into the output folder.

    \b
    Example: hh-align verdict ratings.csv --harmless-min 5 --helpful-above 5
    """
    from hh_align.tools.verdict import give_verdict

    give_verdict(
        responses=list(ratings), settings=settings, labels=labels, output=output,
        harmless_min=harmless_min, helpful_above=helpful_above, paper_judge=paper_judge,
    )  # fmt: skip


@click.command()
@click.argument("study")
def status(study: str) -> None:
    """What is done of a study, what runs, and what comes next.

    Reads results/STUDY/, also while it runs. Writes nothing.

    \b
    Example: hh-align status demo
    """
    from hh_align.tools.places import study_folder

    name = study_folder(study).name
    from hh_align.tools.status import show_status

    show_status(name)


@click.command()
@click.argument("study")
def verify(study: str) -> None:
    """Every file of a study against its checksums.

    Reads results/STUDY/. Writes nothing.

    \b
    Example: hh-align verify demo
    """
    from hh_align.tools import verify_study
    from hh_align.tools.places import study_folder

    verify_study.verify(study_folder(study))


@click.command()
@click.argument("study")
@click.option("--contrast", metavar="POLICY,AGAINST", help="Two replies side by side: which is better?")
@click.option("--until", metavar="POLICY:AGAINST:RATE", help="Ask where a label helps most, until it is known which has the higher rate.")
@click.option("--judge", metavar="NAME", help="The judge whose rewards --until begins with.")
@click.option("--sample", type=int, metavar="N", help="So many prompts of each axis, drawn at random.")
@click.option("--seed", type=int, metavar="N", help="The seed of the drawing and of the order.")
@click.option("--annotator", metavar="NAME", help="Who answers.")
@click.option("--port", type=int, metavar="N", help="The page's port.  [default: 8765]")
@click.option("--discard", metavar="NAME", help="Take out what this annotator has said so far, and end.")
def annotate(study: str, **asked: str | int | None) -> None:
    """True labels of a study's responses, from a blind page.

    The page is served on 127.0.0.1. Stop with Ctrl-C; the same command goes on.

    Reads the study's prompts and responses. Writes results/STUDY/labels/.

    \b
    Example: hh-align annotate demo --sample 50
             hh-align annotate demo --until sft_dpo:sft:hpr
    """
    from hh_align.tools import annotate
    from hh_align.tools.places import study_folder

    annotate.annotate(Namespace(folder=study_folder(study), **asked))


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDY STUDY...")
@click.option("--output", type=FILE, metavar="FOLDER", help="Where it is written.  [default: results/compare/<the names>]")
@click.option("--axis", metavar="AXIS", help="Along the size of the base (size), or a number of yours per study (NAME:1,2,…).")
def compare(studies: tuple[str, ...], output: Path | None, axis: str | None) -> None:
    """Studies that differ in protocol, side by side.

    Shows the rates of the policies that they share, and which settings differ.

    Reads results/STUDY/analysis/ of each. Writes metrics.parquet and metrics.csv; with --axis along.html with its figure, and its table.

    \b
    Example: hh-align compare extended_demo faithful_demo
    """
    from hh_align.tools import compare_studies
    from hh_align.tools.places import study_folder

    folders = list(map(study_folder, studies))
    compare_studies.compare(folders, output or Path("results/compare", "-".join(folder.name for folder in folders)), axis)


@click.command()
@click.argument("study")
def clean(study: str) -> None:
    """Remove what ended jobs of a study have left.

    That is state to go on from, and temporary files. Reads and writes results/STUDY/. What is at work keeps its own, and artifacts stay.

    \b
    Example: hh-align clean demo
    """
    from hh_align.tools import clean_state
    from hh_align.tools.places import study_folder

    clean_state.clean_study(study_folder(study))


@click.command()
@click.argument("artifact")
def fetch(artifact: str) -> None:
    """A file or a folder of a study from its bucket.

    Reads the bucket of profiles/s3/config.yaml. Writes the same path here.

    \b
    Example: hh-align fetch results/demo/report
    """
    from hh_align.tools.fetch_stored import fetch_artifact
    from hh_align.tools.places import find_checkout

    own = Path("profiles/s3/config.yaml")
    fetch_artifact(own if own.is_file() else find_checkout() / own, artifact)


class Commands(click.Group):
    """Commands in the order in which they stand here, the most used first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=Commands,
    commands=[
        verdict,
        cli_runs.demo,
        cli_runs.study,
        cli_runs.published,
        cli_runs.run_configs,
        cli_runs.resume,
        status,
        verify,
        annotate,
        compare,
        clean,
        cli_runs.tune,
        fetch,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def app() -> None:
    """What SFT and DPO really do to the safety and helpfulness of a small language model.

    Studies lie in results/ of the working directory. The files of the workflow are those of the working directory where it is a checkout,
    else those of HH_ALIGN_CHECKOUT, else those from which the package was installed as editable.

    \b
    hh-align demo                            a whole study, offline, in minutes
    hh-align verdict ratings.csv --help      the verdict on ratings that you have
    """


def call() -> None:
    """Read the command line, and end the process with the exit status of its command."""
    try:
        status = app.main(prog_name="hh-align", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        asked = error.ctx.command_path if error.ctx else "hh-align"
        click.echo(f"error: {printable(error.format_message())} {asked} --help shows what it takes.", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "hh_align":
            raise
        raise StudyError(
            f"this needs {error.name}, which the light install has not. In the checkout: make env, or "
            f"{os.path.basename(sys.executable)} -m pip install '.[study]'"
        ) from None
    sys.exit(status)


def main() -> None:
    """The entry point of `hh-align` and of `python -m hh_align.cli`."""
    gc.set_threshold(100_000)  # most objects stay to the end: they are not looked through for garbage after every 700
    run(call)


if __name__ == "__main__":
    main()
