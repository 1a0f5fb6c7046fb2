"""Which files of a hub's dataset are which split: as the library `datasets` finds them, by the card's data_files or by the files' names."""

import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from hh_align.core.errors import StudyError
from hh_align.core.records import kind_of

CARDS = ("README.md", ".huggingface.yaml")
"""Files in which a dataset says where its data lie."""


def layout_file(manifest: Path) -> Path:
    """Where it is written which file of a manifest is which split."""
    return manifest.with_name(manifest.name.replace("manifest", "layout", 1))


def layout_of(request: Mapping, names: Collection[str], cards: Path, what: str) -> list[dict]:
    """The files of every config and split of a request: {config, split, files in their order}, configs and splits in the request's order.

    request: `configs`, and `splits`: split -> its name on the hub. names: all files of the repository. cards: folder with its CARDS.
    Raises StudyError where there is no such config or split, or a file of a kind that nobody reads here.
    """
    layout = []
    for config in request["configs"]:
        there = split_files(cards, names, config, what)
        for split, name in request["splits"].items():
            if name not in there:
                raise StudyError(
                    f"{what}: config {config} has no split {name}; it has {', '.join(there)}. Name it in datasets.*.split_names."
                )
            for file in there[name]:
                kind_of(Path(file))
            layout.append({"config": config, "split": split, "files": there[name]})
    return layout


def split_files(cards: Path, names: Collection[str], config: str, what: str) -> dict[str, list[str]]:
    """Split -> its files, of one config. The library looks at empty files of the same names, so it downloads nothing.

    Raises StudyError where it finds no data or no such config, or the card names files of another place.
    """
    import datasets  # takes seconds, and only what has a layout needs it

    datasets.disable_progress_bars()
    with TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "repository"
        lay_out(root, names, cards, what)
        try:
            configs = datasets.get_dataset_config_names(str(root))
            if config not in configs:
                raise StudyError(f"{what}: it has no config {config} at this revision. Set config to one of {', '.join(configs)}.")
            found = datasets.load_dataset_builder(str(root), config, cache_dir=folder).config.data_files
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            why = str(error).splitlines()[0].replace(str(root), what)
            raise StudyError(f"{what}: `datasets` finds no data in it ({why}).") from None
        files = {str(split): [Path(path) for path in paths] for split, paths in found.items()}
        if outside := [path for paths in files.values() for path in paths if not path.is_relative_to(root)]:
            raise StudyError(f"{what}: its card names {outside[0]}, which is no file of the repository.")
        return {split: [path.relative_to(root).as_posix() for path in paths] for split, paths in files.items()}


def lay_out(root: Path, names: Iterable[str], cards: Path, what: str) -> None:
    """Make the repository's files in an empty folder, the cards with their content. Raises StudyError for a name outside the folder, or an
    address in a card's data_files."""
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise StudyError(f"{what}: it lists {name}, which lies outside its folder.")
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for card in set(CARDS) & set(names):
        head = re.match(r"---\n.*?\n---\n" if card == "README.md" else r".*", (cards / card).read_text(encoding="utf-8"), re.DOTALL)
        if head and (address := re.search(r"(?:path|data_files):\s*['\"]?(\w+://\S+)", head[0])):
            raise StudyError(f"{what}: its card names {address[1]}, which is no file of the repository.")
        shutil.copyfile(cards / card, root / card)
