"""The commands of `hh-align` that run Snakemake: each says its words, and hands its exit status back."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from hh_align.core.cores import allowed_cores, usable_cores

BEFORE = "The demo: four policies trained, asked, judged and compared on synthetic data, offline. 2 cores take 5 to 10 minutes."
AFTER = """
Open results/demo/report/index.html. To try next:
  {command} demo -- check       the results against the planted truth
  {command} annotate demo       label replies blind, in the browser
  {command} verdict results/demo/analysis/ratings.parquet   the verdict again, from the ratings alone"""


class OfSnakemake(click.Command):
    """A command behind whose own arguments stand those of Snakemake, options as they are and targets behind `--`."""

    ignore_unknown_options = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, _, targets = (args[: args.index("--")], "--", args[args.index("--") + 1 :]) if "--" in args else (args, "", [])
        ctx.meta["targets"] = targets
        return super().parse_args(ctx, own)


def cores_given(_: click.Context, __: click.Parameter, text: str) -> str:
    """The cores to run on, for Snakemake, which does not know of a container's limit on time."""
    return str(usable_cores()) if text == "all" and usable_cores() < len(allowed_cores()) else text


CORES = click.option("--cores", default="all", show_default=True, metavar="N", callback=cores_given, help="Cores to run on.")


def running(command: Callable) -> Callable:
    """A command that runs Snakemake: with its cores, and words that go on to it."""
    words = click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF SNAKEMAKE] [-- TARGETS]")
    return CORES(words(command))


def run_named(config: str | None, cores: str, options: tuple[str, ...], before: str = "", after: str = "") -> int:
    """Run a study of the repository, or what the options and targets ask for; around a whole run stand words about it."""
    from hh_align.tools.launch import is_whole, require_study_install, snakemake, words_for
    from hh_align.tools.places import config_file, find_checkout

    checkout, targets = find_checkout(), click.get_current_context().meta["targets"]
    configs = [config_file(config, checkout)] if config else []
    words, whole = words_for(checkout, configs, cores, options, targets), is_whole(options, targets)
    require_study_install()
    if whole and before:
        click.echo(before)
    status = snakemake(words)
    if whole and after and not status:
        click.echo(after)
    return status


@click.command(cls=OfSnakemake)
@running
def demo(cores: str, options: tuple[str, ...]) -> int:
    """The whole study on synthetic data, offline, in minutes.

    The data's truth is planted; 2 cores take 5 to 10 minutes. Reads config/demo.yaml. Writes results/demo/; its report is results/demo/report/index.html.

    \b
    Example: hh-align demo
             hh-align demo -n                 what there is to do, and nothing more
             hh-align demo -- check           the results against the planted truth
    """
    return run_named("demo", cores, options, BEFORE, AFTER.format(command=os.path.relpath(Path(sys.executable).with_name("hh-align"))))


@click.command(cls=OfSnakemake)
@running
def study(cores: str, options: tuple[str, ...]) -> int:
    """The paper's study.

    Checks hub, disk and GPU first, unless options or targets ask for a part of it. Reads config/config.yaml, and downloads about 3 GB. Writes results/paper/ and results/hub/.

    \b
    Example: hh-align study
             hh-align study -- results/paper/rewards/deberta/dpo/seed-42.parquet
    """
    from hh_align.tools.launch import require_study_install
    from hh_align.tools.places import find_checkout

    require_study_install()
    if not options and not click.get_current_context().meta["targets"]:
        from hh_align.tools.preflight import require_fit_machine

        require_fit_machine(find_checkout() / "config/config.yaml")
    return run_named(None, cores, options)


@click.command(cls=OfSnakemake)
@running
def published(cores: str, options: tuple[str, ...]) -> int:
    """The responses that the paper's author has released, analysed.

    Reads config/published.yaml, and downloads the release. Writes results/published/.

    \b
    Example: hh-align published
    """
    return run_named("published", cores, options)


@click.command(name="run", cls=OfSnakemake)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CONFIG... [OPTIONS OF SNAKEMAKE] [-- TARGETS]")
@CORES
def run_configs(cores: str, words: tuple[str, ...]) -> int:
    """A study of your own, from one config or several.

    Each refines the one before it, the first config/config.yaml. Reads the configs: YAML files, or names of config/<name>.yaml. Writes results/<study>/, where the key study says which.

    \b
    Example: hh-align run mine.yaml
             hh-align run demo extended_demo -n
    """
    from hh_align.tools.launch import snakemake, words_for
    from hh_align.tools.places import config_file, find_checkout

    named = next((number for number, word in enumerate(words) if word.startswith("-")), len(words))
    if not named:
        raise click.UsageError("the configs come first, then the options of Snakemake.", click.get_current_context())
    checkout = find_checkout()
    configs = [config_file(word, checkout) for word in words[:named]]
    return snakemake(words_for(checkout, configs, cores, words[named:], click.get_current_context().meta["targets"]))


@click.command(cls=OfSnakemake)
@click.argument("study")
@running
def resume(study: str, cores: str, options: tuple[str, ...]) -> int:
    """A study again as it was last run: it goes on where it was.

    For use after a kill, a full disk or a damaged file, once a run has begun. --config among the options refines that of the last run, and what differs is said.
    Reads results/STUDY/run.json (config files, --config, targets, profiles). Writes results/STUDY/. Refuses while the study is at work, and
    where it would replace what other settings have made, unless HH_ALIGN_REPLACE=yes.

    \b
    Example: hh-align resume demo
             hh-align resume demo --config seeds=[42,7]
    """
    from hh_align.tools.places import study_name
    from hh_align.tools.resume_study import resume

    targets = click.get_current_context().meta["targets"]
    return resume(study_name(study), cores, [*options, *(["--", *targets] if targets else [])])


@click.command(cls=OfSnakemake)
@click.argument("study")
@click.argument("method")
@running
def tune(study: str, method: str, cores: str, options: tuple[str, ...]) -> int:
    """Which precision and micro_batch train a method fastest here.

    Changes nothing by itself. Reads the study's settings as of its last run, which must have begun. Writes results/STUDY/timings/tune_training/METHOD.json.

    \b
    Example: hh-align tune demo sft
    """
    from hh_align.tools.places import study_name
    from hh_align.tools.resume_study import tune

    if click.get_current_context().meta["targets"]:
        raise click.UsageError("a tuning has its own target: leave out `--` and what stands behind it.", click.get_current_context())
    return tune(study_name(study), method, cores, list(options))
