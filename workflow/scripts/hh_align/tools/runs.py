"""What a study's last run was: its command, its settings and its process, in results/<study>/run.json. The rules write it when a run begins."""

import json
import os
import re
import shlex
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import psutil

from hh_align.core.artifacts import write_json
from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean
from hh_align.core.receipts import flat, receipts_of
from hh_align.core.state import read_json

RECORD = "run.json"
LEFT = "left.json"
"""In a study's folder while it runs: the seconds that are left, and when that was reckoned."""
REPLACE, YES = "HH_ALIGN_REPLACE", "yes"
"""Set by who means to run another config into a study's folder."""
MACHINE = ("compute", "export", "tracking")
"""Sections of the config that change no result."""
START = {"paper": "hh-align study", "demo": "hh-align demo", "published": "hh-align published", "smollm2": "make smollm2"}
"""Study of the repository -> the command that starts it, where that is no `hh-align run`."""
ANALYSIS = ("analysis", "claims")
"""Sections of the config that change no model, no response and no rating."""
NAMED = ("policies", "methods", "datasets", "judges", "pairwise", "responses")
"""Sections whose entries have names: one more leaves the others as they were."""
MEASURES = ("overrefusal", "capability", "drift")
"""Sections that measure policies otherwise: where there was none, one leaves the rest as it was."""
SHOWN = 6
PATTERNS = ("**/*.parquet", "**/manifest.json")


def read_run(folder: Path) -> dict:
    """The record of a study's last run; empty where there is none, or one that no run has written."""
    record = read_json(folder / RECORD)
    return record if is_record(record) else {}


def is_record(value: object) -> bool:
    """Whether a value has the form in which `begin` writes a record, as far as it goes."""
    if not isinstance(value, dict) or not all(isinstance(value.get(key, {}), dict) for key in ("settings", "steps")):
        return False
    if not (is_time(value.get("started", 0.0)) and isinstance(value.get("host", ""), str)):
        return False
    command = value.get("command") or {}
    if not isinstance(command, dict):
        return False
    words = [each for option, each in command.items() if option != "--snakefile"]
    return all(map(is_texts, [value.get("files", []), *words, [command.get("--snakefile", "")], [*value.get("steps", {}).values()]]))


def is_time(value: object) -> bool:
    """Whether a value is a time as of time.time(): a number of which there is a date."""
    try:
        return not isinstance(value, bool) and datetime.fromtimestamp(value) is not None
    except (TypeError, ValueError, OverflowError, OSError):
        return False


def is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def is_alive(run: dict) -> bool:
    """Whether the process of a run is at work on this machine."""
    if run.get("host") != socket.gethostname():
        return False
    try:
        process = psutil.Process(run["pid"])
        same = abs(process.create_time() - run["started"]) < 2 and process.pid != os.getpid()
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return False


def differing(before: dict, now: dict) -> list[str]:
    """`key: before, now: after` of each setting that differs."""
    old, new = (flat(values) if values else {} for values in (before, now))
    return [f"{key}: {shown(old, key)}, now {shown(new, key)}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)]


def shown(values: dict, key: str) -> str:
    text = json.dumps(values[key], ensure_ascii=False) if key in values else "not set"
    return text if len(text) <= 40 else text[:37] + "…"


def listed(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


def living_states(folder: Path, before: dict[str, str], now: dict[str, str]) -> dict[str, list[str]]:
    """State that a run would not continue -> the settings that differ; before and now: a state's folder -> its step's config as JSON."""
    living = {state for state in now if before.get(state, now[state]) != now[state] and (Path(state) / "fingerprint.json").is_file()}
    return {state: differing(loaded(before[state]), json.loads(now[state])) for state in sorted(living)}


def loaded(config: str) -> object:
    """The config that a record holds as JSON, or the text itself where that is damaged."""
    try:
        return json.loads(config)
    except ValueError:
        return config


def conflict(folder: Path, before: dict, now: dict) -> str:
    """What a run would replace that another config has made; empty where nothing is. An edit of the same files replaces results, which are
    made again as far as they depend on it, but no state of a step that was stopped. Further files behind the same ones may add to the study.

    Records hold `files` (the config files), `settings` (the whole config) and `steps` (as living_states takes them).
    """
    lost = living_states(folder, before.get("steps", {}), now["steps"])
    if lost:
        state, settings = next(iter(lost.items()))
        others = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        return f"{state}{others}: a step was stopped there that had other settings ({listed(settings)})"
    changed = differing(before.get("settings", {}), now["settings"])
    if (
        before.get("settings")
        and changed
        and before.get("files") != now["files"]
        and not adds(before, now)
        and any(next(folder.glob(name), None) for name in PATTERNS)
    ):
        files = " ".join(before.get("files", [])) or "the default config"
        return f"{folder}: it was made with {files}, which has other settings ({listed(changed)})"
    return ""


def adds(before: dict, now: dict) -> bool:
    """Whether a run's config files stand behind those of the run before, and leave everything but the analysis as it was, or add to it."""
    files, old, new = before.get("files", []), before["settings"], now["settings"]

    def is_kept(section: str) -> bool:
        was, is_now = old.get(section), new.get(section)
        if section in NAMED:
            return all((is_now or {}).get(name) == entry for name, entry in (was or {}).items())
        return was == is_now or (section in MEASURES and not was)

    return now["files"][: len(files)] == files and all(map(is_kept, {*old, *new} - set(ANALYSIS)))


def begin(folder: Path, command: dict | None, files: list[str], settings: dict, steps: dict[str, str], remember: bool = True) -> str:
    """Write the record of the run that begins in this process, if it is to be remembered; what is to be said of settings that differ from the
    last run's.

    Raises StudyError where another run of the study is at work, and for a conflict that nobody has agreed to.
    """
    before = read_run(folder)
    if is_alive(before):
        raise StudyError(
            f"{folder}: another run of this study is at work (process {before['pid']}). Wait for it, or end it, then run again."
        )
    settings = {key: value for key, value in json.loads(json.dumps(settings)).items() if key not in MACHINE}
    now = {"files": files, "settings": settings, "steps": steps}
    if (agreed := os.environ.get(REPLACE, "")) not in ("", YES):
        raise StudyError(
            f"{REPLACE} is {agreed!r}: {YES} lets this run replace what another config has made; leave it out where it is not to."
        )
    if (why := conflict(folder, before, now)) and not agreed:
        raise StudyError(
            f"{why}. Nothing was changed. To go on with that run: hh-align resume {folder.name} (make resume STUDY={folder.name}). To replace it by this one: "
            f"{REPLACE}={YES} before the command; state is kept until the new one is further."
        )
    changed = differing(before["settings"], settings) if before.get("settings") else []
    said = f"{folder}: settings that differ from the last run's: {listed(changed)}" if changed else ""
    if not remember:
        return said
    living = {state: config for state, config in before.get("steps", {}).items() if Path(state).is_dir()}
    process = {"pid": os.getpid(), "host": socket.gethostname(), "started": psutil.Process().create_time()}
    write_json(folder / RECORD, {**now, **process, "steps": living | steps, "command": command})
    return said


def words_of(argv: list[str]) -> dict[str, list[str]]:
    """What a command line of Snakemake says that a later run must say as well: option -> its values; targets under "--"."""
    from snakemake.cli import get_argument_parser

    args, _ = get_argument_parser().parse_known_args(argv)
    return {
        "--profile": [] if "SNAKEMAKE_PROFILE" in os.environ else [str(name) for name in args.profile or []],
        "--workflow-profile": [str(args.workflow_profile)] if args.workflow_profile else [],
        "--until": sorted(map(str, args.until)),
        "--omit-from": sorted(map(str, args.omit_from)),
        "--config": [str(word) for word in args.config or []],
        "--": sorted(map(str, args.targets or [])),
    }


def config_of(run: dict) -> list[str]:
    """The words of --config of a run."""
    return (run.get("command") or {}).get("--config", [])


def command_of(run: dict, config: Sequence[str] | None = None) -> list[str]:
    """The words of Snakemake's command line by which a run is repeated, without its targets; `config` in the place of its words of --config."""
    words = run.get("command") or {}
    settings = config_of(run) if config is None else config
    lists = {name: words.get(name, []) for name in ("--workflow-profile", "--until", "--omit-from")}
    options = {"--configfile": run.get("files", []), "--config": settings, **lists}
    snakefile = ["--snakefile", words["--snakefile"]] if words.get("--snakefile") else []
    profiles = [word for name in words.get("--profile", []) for word in ("--profile", name)]
    return [*snakefile, *profiles, *(word for name, values in options.items() if values for word in (name, *values))]


def has_begun(folder: Path) -> bool:
    """Whether a run of the study in this folder has begun, whatever has become of its record."""
    return (folder / RECORD).is_file() or any(receipts_of(folder))


def require_begun(study: str, config: Path) -> None:
    """Raise StudyError where no run of the study has begun here: how to start it or, where it has no config, which studies there are."""
    if has_begun(Path("results") / study):
        return
    if study in START or config.is_file():
        command = START.get(study) or shlex.join(["hh-align", "run", *config_files(study, config)])
        raise StudyError(f"no run of {study} has begun here. Start it: {command}.")
    ran = sorted(path.parent.name for path in Path("results").glob(f"*/{RECORD}"))
    written = sorted(path.stem for path in config.parent.glob("*.yaml") if path.stem != "config")
    raise StudyError(
        f"no study {study}: no run of it has begun here ({Path('results') / study / RECORD}), and there is no {config}."
        f"{did_you_mean(study, [*ran, 'paper', *written])} Begun here: {', '.join(ran) or 'none'}; configs: {', '.join(['paper', *written])}."
    )


def config_files(study: str, config: Path) -> list[str]:
    """The config files of a study whose runs have left no record: those that the head of its config names, else that config alone; the paper's
    study is the default config. Raises StudyError where there is no such config."""
    if study == "paper":
        return []
    if not config.is_file():
        raise StudyError(
            f"results/{study}: {RECORD}, which names its config files, is lost, and there is no {config}. Add --configfile FILE."
        )
    head = re.match(r"(?:#.*\n)*", config.read_text(encoding="utf-8"))[0]
    named = re.search(r"--configfile((?: config/[\w-]+\.yaml)+)", head)
    return shlex.split(named[1]) if named and str(config) in named[1].split() else [str(config)]
