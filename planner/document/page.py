"""A document as an HTML page: one file without scripts or network access."""

from __future__ import annotations

from html import escape
from itertools import takewhile
from typing import TYPE_CHECKING

from core.terminal import harmless
from models.reports.html import Budget, page, section
from planner.document.parts import Table

if TYPE_CHECKING:
    from planner.document.parts import Chapter, Document, Row, Statement

#: Bytes of all rows of the page's tables, and of its copy of the plan; the rest is style and sentences.
_MOST_BYTES, _MOST_BYTES_OF_PLAN = 140_000, 110_000
#: Characters of a cell or sentence.
_LONGEST = 600
_LEGEND = (
    "<p>Each sentence and each row says what it is based on: <b>stated</b> in the plan, <b>measured</b> by the last run, or "
    "<b>assumed</b>, a default of the product.</p>"
)


def document_page(document: Document) -> str:
    """Compose the page of a document; rows and lines of the plan that do not fit into 300 kB are left out, and counted."""
    budget = Budget(_MOST_BYTES)
    links = "".join(
        f'<li><a href="#c{number}">{_text(chapter.title)}</a></li>' for number, chapter in _numbered(document)
    )
    head = (
        f'<header><h1>{_text(document.title)}</h1>{_LEGEND}<nav aria-label="Chapters"><ol>{links}</ol></nav></header>'
    )
    chapters = [
        section(f'<span id="c{number}">{_text(chapter.title)}</span>', *(_part(part, budget) for part in chapter.parts))
        for number, chapter in _numbered(document)
    ]
    return page(document.title, [head, *chapters, section("The plan", _plan(document.plan))])


def _plan(text: str) -> str:
    lines, budget = text.splitlines(keepends=True), Budget(_MOST_BYTES_OF_PLAN)
    shown = list(takewhile(budget.fits, (escape(harmless(line)) for line in lines)))
    left_out = len(lines) - len(shown)
    rest = f"<p>The last {left_out:,} lines are left out here; the Markdown document has all.</p>"
    return f'<pre tabindex="0" role="region" aria-label="The plan" style="overflow-x:auto">{"".join(shown)}</pre>' + (
        rest if left_out else ""
    )


def _numbered(document: Document) -> enumerate[Chapter]:
    return enumerate(document.chapters, 1)


def _part(part: Statement | Table, budget: Budget) -> str:
    if isinstance(part, Table):
        return _table(part, budget)
    return f'<p>{_text(part.text)} <span class="soft">({part.basis})</span></p>'


def _table(table: Table, budget: Budget) -> str:
    title = _text(table.title)
    head = "".join(f'<th scope="col" class="words">{_text(name)}</th>' for name in (*table.head, "basis"))
    rows = list(takewhile(budget.fits, map(_row, table.rows)))
    left_out = table.left_out + len(table.rows) - len(rows)
    rest = f"<p>{left_out:,} more rows are in the plan.</p>" if left_out else ""
    return (
        f'<h3>{title}</h3><div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{rest}"
    )


def _row(row: Row) -> str:
    cells = "".join(f'<td class="words">{_text(cell)}</td>' for cell in (*row.cells, row.basis))
    return f"<tr>{cells}</tr>"


def _text(text: str) -> str:
    return escape(harmless(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"))
