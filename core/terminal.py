"""Terminal output: tables without truncation, and text without control characters."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import RenderableType
    from rich.table import Table

#: Width in characters if the output is not a terminal and `COLUMNS` is not set: files and programs need unwrapped lines.
_WIDTH_WITHOUT_TERMINAL = 240
#: Unicode marks that change the direction of the text after them.
_BIDI_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def harmless(text: str) -> str:
    """Return `text` with control characters and bidirectional marks escaped as by `repr`."""
    return "".join(letter if _is_shown(letter) else letter.encode("unicode_escape").decode() for letter in text)


def _is_shown(letter: str) -> bool:
    # Cc: control characters; Cs: surrogates.
    return letter in "\n\t" or (letter not in _BIDI_MARKS and unicodedata.category(letter) not in {"Cc", "Cs"})


def terminal_table(*headings: str, numbers: Collection[str] = (), title: str, caption: str | None = None) -> Table:
    """Return an empty table with these headings; columns in `numbers` are right-aligned, long cells are wrapped."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    class HarmlessTable(Table):
        def add_row(self, *cells: RenderableType | None, **style: Any) -> None:
            super().add_row(*(harmless(cell) if isinstance(cell, str) else cell for cell in cells), **style)

    columns = [
        Column(harmless(heading), overflow="fold", justify="right" if heading in numbers else "left")
        for heading in headings
    ]
    safe_caption = harmless(caption) if caption else None
    return HarmlessTable(
        *columns, title=harmless(title), caption=safe_caption, box=SIMPLE_HEAD, show_edge=False, pad_edge=False
    )


def print_whole(shown: RenderableType) -> None:
    """Print a table or text; brackets and colons in user data are not interpreted as markup."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_WITHOUT_TERMINAL
    console.print(shown)
