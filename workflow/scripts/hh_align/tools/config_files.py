"""What Snakemake reads of a config before it reads a rule, files and --config: what is wrong there is one message in the place of a traceback."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from hh_align.core.errors import printable
from hh_align.core.meant import did_you_mean


def answer_for_snakemake() -> None:
    """Let Snakemake of this process end with one message where it cannot read a config. The profiles call this: nothing of ours is read
    before the config files but they."""
    from snakemake import cli
    from snakemake.common import configfile
    from snakemake.settings import types

    configfile.load_configfile = types.load_configfile = ending(configfile.load_configfile, lambda path: fault(Path(path)))
    cli.parse_config = ending(cli.parse_config, fault_of_words)


def ending(usual: Callable[[Any], dict], why: Callable[[Any], str]) -> Callable[[Any], dict]:
    """A reader that ends the process with `why` where the usual one fails; where that says nothing, the failure is the usual one's."""

    def read(given: Any) -> dict:
        try:
            return usual(given)
        except Exception:
            if said := why(given):
                sys.exit(f"error: {printable(said)}")
            raise

    return read


def fault_of_words(words: Sequence[str]) -> str:
    """What is wrong with the words of --config; empty where each is a key and a value."""
    wrong = [word for word in words if not re.match(r"[a-zA-Z_][\w-]*\w=", word)]
    why = "no key=value. Write one word for each key, in quotes where it holds spaces: --config 'seeds=[1, 2]'"
    return f"--config {wrong[0]}: {why}" if wrong else ""


def fault(path: Path) -> str:
    """What is wrong with a config file, and what to do; empty where it is a mapping in YAML."""
    try:
        if path.is_dir():
            return f"{path}: a folder, no config file. Name a YAML file in it: {', '.join(map(str, sorted(path.glob('*.yaml')))) or 'there is none'}."
        if not path.exists():
            return missing(path)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        return f"{path}: no config file: byte {error.start + 1:,} is no UTF-8 text. Name a YAML file."
    except OSError as error:
        return f"{path}: {error.strerror}. Check the path."
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date, a number, a depth that is none
        return unreadable(path, error)
    if content is None:
        return f"{path}: the config file is empty. Write what is to differ from config/config.yaml, as `key: value`, or leave the file out."
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        return f"{path}: {kind}, where a config file has lines `key: value`. config/demo.yaml is an example."
    return ""


def unreadable(path: Path, error: Exception) -> str:
    """That a file is no YAML, where, and what to do."""
    why = re.sub(r'in "<\w+ string>", ', "at ", " ".join(str(error).split()))
    return f"{path}: no readable YAML ({why}). Mend it there; YAML is indented by spaces."


def missing(path: Path) -> str:
    """That there is no such config file, which one may be meant, and which there are in config/."""
    if path.parts[:1] == ("results",) and path.suffix not in (".yaml", ".yml"):
        return f"{path}: --configfile takes every word behind it for a config file. Before an artifact's name write --: -- {path}."
    here = sorted([*Path().glob("*.yaml"), *Path("config").glob("*.yaml")])
    named = {other.stem: other for other in here}
    near = f" Did you mean {named[path.name]}?" if path.name in named else did_you_mean(path, map(str, here))
    return f"no config file {path}.{near} There are: {', '.join(map(str, here)) or f'none in {Path.cwd()}'}."
