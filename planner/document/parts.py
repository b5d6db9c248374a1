"""The parts of a document: chapters of statements and tables, each marked with what it is based on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = 1
#: `stated` is written in the plan, `measured` is a figure of the last run, `assumed` is a default of the product.
Basis = Literal["stated", "measured", "assumed"]


@dataclass(frozen=True)
class Statement:
    """A sentence."""

    text: str
    basis: Basis


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    cells: tuple[str, ...]
    basis: Basis


@dataclass(frozen=True)
class Table:
    """A table; `left_out` rows did not fit."""

    title: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: int = 0


@dataclass(frozen=True)
class Chapter:
    """A chapter with its parts in order."""

    title: str
    parts: tuple[Statement | Table, ...]


@dataclass(frozen=True)
class Document:
    """The whole document, with the text of the plan that it was composed from."""

    title: str
    chapters: tuple[Chapter, ...]
    plan: str

    def to_dict(self) -> dict[str, object]:
        """Return the document as JSON types."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}


@dataclass(frozen=True)
class Stated:
    """The keys that the text of a plan states."""

    raw: Mapping[str, Any]

    def has(self, path: str) -> bool:
        """Return whether the plan states the key at a dotted path."""
        found: Any = self.raw
        for key in path.split("."):
            if not isinstance(found, dict) or key not in found:
                return False
            found = found[key]
        return True

    def basis(self, path: str) -> Basis:
        """Return `stated` for a key of the plan, else `assumed`."""
        return "stated" if self.has(path) else "assumed"
