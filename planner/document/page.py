"""A document as an HTML page: one file without scripts or network access."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from core.terminal import harmless
from models.reports.html import page, section
from planner.document.parts import Table

if TYPE_CHECKING:
    from planner.document.parts import Chapter, Document, Statement

#: Characters of the plan that a page has at most.
_LONGEST_PLAN = 120_000
_LEGEND = (
    "<p>Each sentence and each row says what it is based on: <b>stated</b> in the plan, <b>measured</b> by the last run, or "
    "<b>assumed</b>, a default of the product.</p>"
)


def document_page(document: Document) -> str:
    """Compose the page of a document."""
    links = "".join(
        f'<li><a href="#c{number}">{_text(chapter.title)}</a></li>' for number, chapter in _numbered(document)
    )
    head = (
        f'<header><h1>{_text(document.title)}</h1>{_LEGEND}<nav aria-label="Chapters"><ol>{links}</ol></nav></header>'
    )
    chapters = [
        section(f'<span id="c{number}">{_text(chapter.title)}</span>', *map(_part, chapter.parts))
        for number, chapter in _numbered(document)
    ]
    return page(document.title, [head, *chapters, section("The plan", _plan(document.plan))])


def _plan(text: str) -> str:
    left_out = len(text) - _LONGEST_PLAN
    shown = escape(harmless(text[:_LONGEST_PLAN]))
    rest = f"<p>The last {left_out:,} characters are left out here; the Markdown document has all.</p>"
    block = f'<pre tabindex="0" role="region" aria-label="The plan" style="overflow-x:auto">{shown}</pre>'
    return block + (rest if left_out > 0 else "")


def _numbered(document: Document) -> enumerate[Chapter]:
    return enumerate(document.chapters, 1)


def _part(part: Statement | Table) -> str:
    if isinstance(part, Table):
        return _table(part)
    return f'<p>{_text(part.text)} <span class="soft">({part.basis})</span></p>'


def _table(table: Table) -> str:
    title = _text(table.title)
    head = "".join(f'<th scope="col" class="words">{_text(name)}</th>' for name in (*table.head, "basis"))
    rows = "".join(
        "<tr>" + "".join(f'<td class="words">{_text(cell)}</td>' for cell in (*row.cells, row.basis)) + "</tr>"
        for row in table.rows
    )
    left_out = f"<p>{table.left_out:,} more rows are in the plan.</p>" if table.left_out else ""
    return (
        f'<h3>{title}</h3><div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{left_out}"
    )


def _text(text: str) -> str:
    return escape(harmless(text))
