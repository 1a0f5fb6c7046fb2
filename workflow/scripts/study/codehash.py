"""Content hash of a script and of the modules here that it imports: comments, docstrings, formatting and file times do not count."""

import ast
import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def code_hash(script: str, root: Path = ROOT) -> str:
    """Hash (16 hex digits) of `root`/<script>.py and of everything below `root` that it imports, directly or not."""
    digest = hashlib.sha256()
    for module in _closure(script, root):
        digest.update(f"{module}\0{_parsed(module, root)[0]}\0".encode())
    return digest.hexdigest()[:16]


def _closure(script: str, root: Path) -> list[str]:
    seen: set[str] = set()
    ahead = [script]
    while ahead:
        module = ahead.pop()
        if module not in seen:
            seen.add(module)
            ahead += _parsed(module, root)[1]
    return sorted(seen)


@functools.cache
def _parsed(module: str, root: Path) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(_file(module, root).read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree), tuple(sorted(name for name in names if _file(name, root)))


def _file(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
