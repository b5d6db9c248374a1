"""A document as Markdown that ends with the plan itself, so that the plan can be read back from it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from core.errors import PlanError
from core.terminal import harmless
from planner.document.parts import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planner.document.parts import Chapter, Document, Statement

#: What Markdown and HTML give a meaning within a line.
_MARKS = re.compile(r"([\\`*\[\]<&|~]|(?<!\w)_|_(?!\w))")


def markdown(document: Document) -> str:
    """Compose a document as Markdown."""
    lines = [f"# {_plain(document.title)}", ""]
    for chapter in document.chapters:
        lines += _chapter(chapter)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", document.plan)), default=0))
    end = "" if document.plan.endswith("\n") else "\n"
    return "\n".join([*lines, "## The plan", "", f"{fence}yaml"]) + f"\n{document.plan}{end}{fence}\n"


def plan_text(document: str) -> str:
    """Return the text of the plan in a Markdown document that `markdown` composed.

    Raises
    ------
    PlanError
        If the document does not end with a plan.

    """
    body = document.rstrip("\n")
    last = body.rpartition("\n")[2]
    before, opening, plan = body.rpartition(f"\n{last}yaml\n")
    if not (re.fullmatch("`{3,}", last) and opening and before):
        raise PlanError("the document ends without a plan; expected a block ```yaml as its last part: render it again")
    return plan.removesuffix(last)


def _chapter(chapter: Chapter) -> Iterator[str]:
    yield from (f"## {_plain(chapter.title)}", "")
    for part in chapter.parts:
        yield from _table(part) if isinstance(part, Table) else _statement(part)


def _statement(statement: Statement) -> tuple[str, str]:
    return f"{_plain(statement.text)} ({statement.basis})", ""


def _table(table: Table) -> Iterator[str]:
    yield from (f"### {_plain(table.title)}", "")
    yield _line([*table.head, "basis"])
    yield _line(["---"] * (len(table.head) + 1))
    for row in table.rows:
        yield _line([*map(_plain, row.cells), row.basis])
    yield from ("", *([f"{table.left_out:,} more rows are in the plan.", ""] if table.left_out else []))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Return text on one line, in which no character has a meaning of its own."""
    return _MARKS.sub(r"\\\1", harmless(" ".join(text.split())))
