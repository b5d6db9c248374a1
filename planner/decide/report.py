"""What a decision or a forecast shows: its numbers as JSON, its sentences and tables for terminals and documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.json_text import plain
from core.terminal import terminal_table
from planner.document.parts import Chapter

if TYPE_CHECKING:
    from rich.console import RenderableType

    from planner.document.parts import Statement, Table

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Report:
    """A result with its sentences, the verdict first.

    Attributes
    ----------
    found : whether there is something to act on.
    result : a dataclass of numbers.

    """

    title: str
    found: bool
    result: Any
    statements: tuple[Statement, ...]
    tables: tuple[Table, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the result and the sentences as JSON types; a number that is infinite or unknown is null."""
        said = plain(self.statements)
        return {"format_version": FORMAT_VERSION, "verdict": self.verdict, **plain(self.result), "statements": said}

    @property
    def verdict(self) -> str:
        """The first sentence."""
        return self.statements[0].text

    def chapter(self) -> Chapter:
        """Return the chapter of a document."""
        return Chapter(self.title, (*self.statements, *self.tables))

    def table(self) -> RenderableType:
        """Return terminal tables of the sentences, each with its basis, and of the numbers."""
        from rich.console import Group

        sentences = terminal_table("", "basis", title=self.title)
        for statement in self.statements:
            sentences.add_row(statement.text, statement.basis)
        return Group(sentences, *map(_shown, self.tables))


def _shown(table: Table) -> RenderableType:
    shown = terminal_table(*table.head, title=table.title)
    for row in table.rows:
        shown.add_row(*row.cells)
    return shown
