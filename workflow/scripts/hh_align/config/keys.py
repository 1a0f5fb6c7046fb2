"""The keys of a config as messages write them, and the file that sets one."""

import re
from collections.abc import Iterable, Mapping, Sequence

KEY = re.compile(r"config: (?:the config|(?P<key>\S+?))[,.:]?(?: has no key (?P<unknown>[^\s,]+?)[,.]?)?(?: |$)")
"""How a message on the config begins."""


def nth(index: int) -> str:
    """The place of a list's entry, as people count: 0 -> '1st'."""
    number = index + 1
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def written(key: object) -> str:
    """A key, in quotes where it is no plain word."""
    return str(key) if re.fullmatch(r"[\w./-]+", str(key)) else repr(key)


def path_of(keys: Iterable[object], config: object) -> str:
    """The path of a key: ('analysis', 'contrasts', 4) -> 'analysis.contrasts[5th]'."""
    path, holder = "", config
    for key in keys:
        path += f"[{nth(key)}]" if isinstance(holder, list) else f".{written(key)}"
        holder = holder[key]
    return path.removeprefix(".")


def value_at(path: str, layer: object) -> object:
    """What a file sets a path to, which may hold names with dots; None where it does not. The entries of a list are not told apart."""
    path = path.partition("[")[0]
    if not path or not isinstance(layer, Mapping):
        return None if path else layer
    for key, value in sorted(layer.items(), key=lambda entry: -len(str(entry[0]))):  # YAML reads some names as numbers
        if path == str(key) or path.startswith(f"{key}."):
            return value_at(path[len(str(key)) + 1 :], value)
    return None


def with_file(message: str, files: Sequence[tuple[str, Mapping]]) -> str:
    """A message on the config, with the file that sets its key in the place of `config` where several files, each with its name, refine the
    defaults: the last one that sets it. A section that several write is of none of them."""
    found = KEY.match(message)
    if not found or len(files) == 1:
        return message
    path = ".".join(filter(None, found.groups()))
    setting = [(name, value) for name, layer in files if (value := value_at(path, layer)) is not None]
    if not setting or (len(setting) > 1 and isinstance(setting[-1][1], Mapping)):
        return message
    return f"{setting[-1][0]}: {message.removeprefix('config: ')}"
