"""Content hash of a module and of the modules of its package that it imports: comments, docstrings, formatting, file times and the version of
Python do not count."""

import ast
import functools
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_DUMP = functools.partial(ast.dump, show_empty=True) if sys.version_info >= (3, 13) else ast.dump
"""A syntax tree as text, as Python 3.11 writes it: of what 3.12 adds, empty `type_params` and empty texts, _read takes away; 3.13 leaves out
empty lists."""


def code_hash(module: str, root: Path = ROOT) -> str:
    """Hash (16 hex digits) of a module (dotted name) below `root` and of everything of its top-level package that it imports, directly or
    not: absolute and relative imports, and the `__init__` of each package on the way. What else lies below `root`, as libraries do beside an
    installed package, is not followed. Raises FileNotFoundError where there is no such module."""
    if not _file(module, root):
        raise FileNotFoundError(f"no module {module} below {root}")
    digest = hashlib.sha256()
    for name in _closure(module, root):
        digest.update(f"{name}\0{_parsed(name, root)[0]}\0".encode())
    return digest.hexdigest()[:16]


def _closure(module: str, root: Path) -> list[str]:
    seen: set[str] = set()
    package, ahead = module.partition(".")[0], [module]
    while ahead:
        name = ahead.pop()
        if name not in seen and name.partition(".")[0] == package and _file(name, root):
            seen.add(name)
            ahead += [*_parsed(name, root)[1], name.rpartition(".")[0]]
    return sorted(seen)


@functools.cache
def _parsed(module: str, root: Path) -> tuple[str, tuple[str, ...]]:
    path = _file(module, root)
    return _read(path.read_text(encoding="utf-8"), module if path.name == "__init__.py" else module.rpartition(".")[0])


@functools.cache
def _read(source: str, package: str) -> tuple[str, tuple[str, ...]]:
    """A module's syntax tree as text, and the names of what it may import, seen from its package."""
    tree = ast.parse(source)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, package)
            names |= {source} | {f"{source}.{alias.name}" for alias in node.names}
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if getattr(node, "type_params", None) == []:
            del node.type_params
        if isinstance(node, ast.JoinedStr):
            node.values = [value for value in node.values if getattr(value, "value", None) != ""]
    return _DUMP(tree), tuple(sorted(names))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The dotted name that `from … import` reads, as seen from a package: each dot beyond the first goes one up."""
    if not node.level:
        return node.module
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


@functools.cache
def _file(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
