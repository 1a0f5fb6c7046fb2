"""Snakemake, started for the user: with which words, in which environment, and what its end means."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean
from hh_align.tools.config_words import told_apart

NEEDED = ("snakemake", "torch", "transformers", "trl")
PARTS = {
    *("-n", "--dry-run", "--dryrun", "-S", "--summary", "-D", "--detailed-summary", "--dag", "--rulegraph", "--filegraph", "--report"),
    *(
        "-l",
        "--list",
        "--list-rules",
        "--list-target-rules",
        "--lt",
        "--lint",
        "--unlock",
        "-t",
        "--touch",
        "-h",
        "--help",
        "-v",
        "--version",
    ),
    *(
        "-U",
        "--until",
        "-O",
        "--omit-from",
        "--archive",
        "--delete-all-output",
        "--delete-temp-output",
        "--cleanup-metadata",
        "--cm",
        "--batch",
    ),
}
"""Options by which Snakemake makes a part of a study, or something else."""
VALUED = {"-c", "--cores", "-j", "--jobs", "-s", "--snakefile", "-C", "--config", "--configfile", "--profile", "--workflow-profile"}
"""Options that need a value."""
COMMON = {
    *VALUED,
    *("-k", "--keep-going", "-p", "--printshellcmds", "-q", "--quiet", "--verbose", "--nolock", "--rerun-incomplete"),
    *("-R", "--forcerun", "-F", "--forceall", "-f", "--force"),
}
"""Further options of Snakemake that need no look at all of them, which takes as long as Snakemake's own start."""
JOINED = re.compile("-[kfFpa]*[ntlSDhvUO]")
"""How a word begins in which such an option stands behind flags: -pn."""


def is_whole(options: Sequence[str], targets: Sequence[str]) -> bool:
    """Whether these words of Snakemake's ask for all of a study: no target, and no option of PARTS."""
    parts = PARTS & {word.partition("=")[0] for word in options} or any(map(JOINED.match, options))
    return not targets and all(word.startswith("-") for word in options[:1]) and not parts


def require_study_install() -> None:
    """Raise StudyError where what a study runs on is not installed."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise StudyError(
            f"a study needs {', '.join(missing)}, and {sys.executable} has only the light install. In the checkout: make env, or "
            f"{Path(sys.executable).name} -m pip install '.[study]'"
        )


def require_options(words: Sequence[str]) -> None:
    """Raise StudyError where Snakemake would answer these words by its usage of a hundred lines: an option that it has not, or one without its
    value."""
    own = [*words[: list(words).index("--")], "--"] if "--" in words else [*words, "--"]
    lacking = any(word in VALUED and after.startswith("-") for word, after in pairwise(own))
    if not lacking and all(word.partition("=")[0] in PARTS | COMMON for word in own[:-1] if word.startswith("-")):
        return
    from snakemake.cli import get_argument_parser

    def refuse(message: str) -> None:
        raise StudyError(f"Snakemake does not take this: {message}. snakemake --help lists its options.")

    parser = get_argument_parser()
    parser.error = refuse
    try:
        _, unknown = parser.parse_known_args(list(words))
    except ValueError as error:  # Snakemake's own readers of values
        refuse(str(error))
    if wrong := next((word.partition("=")[0] for word in unknown if word.startswith("-")), None):
        options = re.findall(r"--[\w-]+", parser.format_usage())
        raise StudyError(f"{wrong}: no option of Snakemake.{did_you_mean(wrong, options)} snakemake --help lists them.")


def words_for(checkout: Path, configs: Sequence[str], cores: str, options: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Snakemake's words for these config files: options may begin with targets, too, as they do for Snakemake. Several --config among them
    become one, as Snakemake takes the last one only.

    Raises StudyError for config files among the options, which Snakemake would take in the place of these.
    """
    if replacing := next((word for word in options if word.startswith("--configfile")), None):
        raise StudyError(
            f"{replacing}: the config files of these options would take the place of {' '.join(configs) or 'config/config.yaml'}. Name them "
            "one behind the other, each refines those before it: hh-align run demo mine.yaml"
        )
    settings, others = told_apart(options)
    options = [*others, *(["--config", *settings] if settings else [])]
    elsewhere = [] if checkout == Path.cwd() else ["--snakefile", str(checkout / "Snakefile")]
    files = ["--configfile", *configs] if configs else []
    first = next((number for number, word in enumerate(options) if word.startswith("-")), len(options))
    asked = [*options[:first], *targets]
    return [*elsewhere, "--cores", cores, *files, *options[first:], *(["--", *asked] if asked else [])]


def snakemake(words: Sequence[str], **variables: str) -> int:
    """Run Snakemake to its end, and return its exit status; variables are added to the environment."""
    require_study_install()
    require_options(words)
    say(shlex.join(["snakemake", *words]))
    with subprocess.Popen([Path(sys.executable).parent / "snakemake", *words], env=os.environ | variables) as process:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the terminal tells Snakemake itself, which ends its jobs first
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        status = process.wait()
    return status if status >= 0 else 128 - status
