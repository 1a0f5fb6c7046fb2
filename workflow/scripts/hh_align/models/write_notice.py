"""The licence notice that goes with a model's weights: that of the model that it is made of, the config's words, and the licence files of
its source. It stands apart from the weights, so that other words make nothing else again."""

import json
from collections.abc import Mapping
from pathlib import Path

from hh_align.core.artifacts import say, write_text
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.models.licences import licence_texts


def compose(parent: str, notice: str, licences: Mapping[str, str]) -> str:
    """The text of a NOTICE. parent: that of the model that this one is made of; licences: name -> text of each licence file."""
    texts = [parent, notice, *(f"--- {name} ---\n{text}" for name, text in licences.items())]
    return "\n\n".join(text.strip() for text in texts if text.strip()) + "\n"


def texts_of(paths: list[Path]) -> dict[str, str]:
    """Name -> text of licence files: these, or those that the provenance of a downloaded model holds.

    Raises StudyError where it holds none.
    """
    if [path.name for path in paths] != ["provenance.json"]:
        return licence_texts(paths)
    try:
        return dict(json.loads(paths[0].read_text(encoding="utf-8"))["licences"])
    except (ValueError, LookupError, TypeError):
        raise StudyError(
            f"{paths[0]}: it does not hold the licence files of the download. Delete {paths[0].with_name('manifest.json')}: "
            "the next run imports the model again."
        ) from None


def main() -> None:
    args = parse(__doc__, config="config", licences="paths?", parent="path?", output="path")
    parent = args.parent.read_text(encoding="utf-8") if args.parent else ""
    text = compose(parent, args.config["notice"], texts_of(args.licences))
    write_text(args.output, text)
    say(f"{args.output}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    run(main)
