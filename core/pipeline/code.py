"""The code of a stage: the files of ours whose text may change what it computes, found by its imports.

A module is one file; a module of a room (a folder in a package) stands for all files of the room, whose modules change what a
stage computes or checks alike. What is imported for types alone does not count.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGES = ("core", "feature_repo", "models")
LAUNCHER = "core.launch.__main__"
#: Feast imports the classes that this file names, in a stage that imports the room.
STORES, STORES_FILE = Path("feature_repo/stores"), Path("feature_repo/feature_store.yaml")
_ROOM_DEPTH = 2


def code_of(module: str, root: Path = Path()) -> dict[str, str]:
    """Return the digest of each file that a stage's code is made of, by its path below `root`."""
    return {str(path): _digest(root / path) for path in sorted(_files(_closure(module, root), root))}


def _closure(module: str, root: Path) -> set[Path]:
    """Return the files of the modules that a stage imports, directly or not, and of those that Feast may import for it."""
    found = _reachable([module, LAUNCHER], root)
    if any(path.is_relative_to(STORES) for path in found):
        found |= {*_reachable(_named_stores(root), root), STORES_FILE}
    return found


def _reachable(modules: Iterable[str], root: Path) -> set[Path]:
    """Return the files of modules, and of those that they import, directly or not."""
    found: set[Path] = set()
    waiting = [path for module in modules for path in _paths(module, root)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imports(path, root))
    return found


@cache
def _imports(path: Path, root: Path) -> tuple[Path, ...]:
    """Return the files of ours that a file imports at any place, except for types."""
    names = set(_imported_names(ast.parse((root / path).read_bytes())))
    return tuple(found for name in names if name.startswith(PACKAGES) for found in _paths(name, root))


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Yield the modules that a tree may import: of `from a import b`, both `a` and `a.b`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from (name for other in child.orelse for name in _imported_names(ast.Module([other], [])))
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _imported_names(child)


@cache
def _paths(module: str, root: Path) -> tuple[Path, ...]:
    """Return the file of a module if there is one, and those of the packages that it is in."""
    parts = module.split(".")
    packages = [Path(*parts[:length], "__init__.py") for length in range(1, len(parts) + 1)]
    return tuple(path for path in (Path(*parts).with_suffix(".py"), *packages) if (root / path).is_file())


def _named_stores(root: Path) -> list[str]:
    """Return the modules of the classes of ours that Feast's configuration names."""
    configuration = yaml.safe_load((root / STORES_FILE).read_text(encoding="utf-8"))
    kinds = [str(part["type"]) for part in configuration.values() if isinstance(part, dict) and "type" in part]
    return [kind.rpartition(".")[0] for kind in kinds]


def _files(modules: set[Path], root: Path) -> set[Path]:
    """Return the files, and all files of the rooms that some of them are in."""
    rooms = {Path(*path.parts[:_ROOM_DEPTH]) for path in modules if len(path.parts) > _ROOM_DEPTH}
    return modules | {path for room in rooms for path in _room(room, root)}


@cache
def _room(folder: Path, root: Path) -> tuple[Path, ...]:
    files = (path for path in (root / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return tuple(path.relative_to(root) for path in files)


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
