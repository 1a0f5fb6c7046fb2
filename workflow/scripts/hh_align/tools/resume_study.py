"""Run a study again as it was last run (config files, --config, targets), after a kill or whatever ended that run; or its tuning, by the same config."""

import re
import shlex
import sys
from collections import Counter
from pathlib import Path

from hh_align.core.artifacts import say
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean
from hh_align.tools.check_idle import require_idle
from hh_align.tools.config_words import changes, joined, told_apart
from hh_align.tools.launch import snakemake
from hh_align.tools.runs import command_of, config_files, config_of, read_run, require_begun

LOCKS = Path(".snakemake/locks")


def own_locks(study: str) -> list[Path]:
    """Snakemake's locks that a run of the study has left: a lock is a list of files, and most of a run's are its study's."""
    own = []
    for path in sorted(LOCKS.glob("*.lock")):
        names = re.findall(r"(?:^|/)results/(?!hub/)([^/\n]+)/", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if names and Counter(names).most_common(1)[0][0] == study:
            own.append(path)
    return own


def unlock(study: str) -> None:
    """Remove the locks of the study's ended run, and no other study's. Raises StudyError while the study may be at work."""
    unknown, locks = require_idle(study, Path.cwd()), own_locks(study)
    if unknown and locks:
        raise StudyError(f"a Snakemake is starting here (process {unknown[0]}), perhaps on {study}. Wait a few seconds, then run again.")
    for lock in locks:
        lock.unlink(missing_ok=True)


def command(study: str, cores: str, options: list[str], tuned: str | None) -> list[str]:
    """Snakemake's command line: that of the last run, then `options`, whose config files and targets stand in the place of its, and whose
    --config refines its, key by key. Raises StudyError where no run of the study has begun."""
    config = Path(f"config/{study}.yaml")
    if not own_locks(study):  # a run that was killed before it could leave a record
        require_begun(study, config)
    record = read_run(Path("results") / study)
    given, others = told_apart(options)
    if "command" in record:
        words = command_of(record, joined(config_of(record), given))
    else:
        files = [] if "--configfile" in options else config_files(study, config)
        words = [*(["--configfile", *files] if files else []), *(["--config", *given] if given else [])]
    targets = (record.get("command") or {}).get("--", [])
    if tuned:
        require_method(record, tuned, bool(given) or "--configfile" in others)
        targets, others = [f"results/{study}/timings/tune_training/{tuned}.json"], [*others, "--forcerun", "tune_training"]
    asked = ["--", *targets] if targets and "--" not in others else []
    return ["--cores", cores, *words, *others, *asked]


def say_changes(study: str, options: list[str]) -> None:
    """Print what --config among the options says otherwise than that of the last run."""
    given, _ = told_apart(options)
    if given:
        say(f"results/{study}: --config: {changes(config_of(read_run(Path('results') / study)), given)}.")


def require_method(record: dict, method: str, other: bool) -> None:
    """Raise StudyError where the study's last run had no such method; other: whether the options bring another config."""
    methods = record.get("settings", {}).get("methods")
    if isinstance(methods, dict) and method not in methods and not other:
        raise StudyError(f"no method {method}.{did_you_mean(method, methods)} The study has: {', '.join(methods)}.")


def resume(study: str, cores: str, options: list[str]) -> int:
    """Run a study as it was last run; Snakemake's exit status. Raises StudyError where there is none, or it is at work."""
    words = command(study, cores, options, None)
    unlock(study)
    say_changes(study, options)
    return snakemake(words)


def tune(study: str, method: str, cores: str, options: list[str]) -> int:
    """Measure a method by the config of a study's last run; Snakemake's exit status. Raises StudyError where there is no such study or method."""
    words = command(study, cores, options, method)
    say_changes(study, options)
    return snakemake(words, HH_ALIGN_REMEMBER="off")


def main() -> None:
    args = parse(__doc__, study="text", cores="text", options="text?", tune="text?")
    try:
        options = shlex.split(args.options or "")
    except ValueError as error:
        raise StudyError(f"OPTIONS {args.options}: no words of a command line ({error}). Close what is quoted.") from None
    sys.exit(tune(args.study, args.tune, args.cores, options) if args.tune else resume(args.study, args.cores, options))


if __name__ == "__main__":
    run(main)
