"""The licence files of a model's folder."""

from collections.abc import Iterable
from pathlib import Path


def is_licence(path: Path) -> bool:
    """Whether a file's name is that of a licence, or of a notice that goes with one."""
    return path.name.startswith(("LICENSE", "NOTICE"))


def licence_texts(paths: Iterable[Path]) -> dict[str, str]:
    """Name -> text of each licence file among these, by name."""
    files = sorted(path for path in paths if is_licence(path) and path.is_file())
    return {path.name: path.read_text(encoding="utf-8", errors="replace").strip() for path in files}
