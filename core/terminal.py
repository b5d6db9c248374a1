"""Text and tables on a terminal, in which nothing is cut off and nothing commands it."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import RenderableType
    from rich.table import Table

#: Columns of text where no terminal and no `COLUMNS` says how many there are: a file or another program wants whole lines.
_WIDE = 240
#: Marks that turn the direction of the text after them.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def harmless(text: str) -> str:
    """Escape what a terminal takes for a command, as `repr` does: control characters and marks of direction."""
    return "".join(letter if _is_shown(letter) else letter.encode("unicode_escape").decode() for letter in text)


def _is_shown(letter: str) -> bool:
    # Cc holds the escapes, Cs halves of letters.
    return letter in "\n\t" or (letter not in _TURNING and unicodedata.category(letter) not in {"Cc", "Cs"})


def terminal_table(*headings: str, numbers: Collection[str] = (), title: str, caption: str | None = None) -> Table:
    """Make a table with these headings, `numbers` among them set to the right; a cell that is too long goes on below."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    class HarmlessTable(Table):
        def add_row(self, *cells: RenderableType | None, **style: Any) -> None:
            super().add_row(*(harmless(cell) if isinstance(cell, str) else cell for cell in cells), **style)

    columns = [
        Column(harmless(heading), overflow="fold", justify="right" if heading in numbers else "left")
        for heading in headings
    ]
    below = harmless(caption) if caption else None
    return HarmlessTable(
        *columns, title=harmless(title), caption=below, box=SIMPLE_HEAD, show_edge=False, pad_edge=False
    )


def print_whole(shown: RenderableType) -> None:
    """Print tables as they are: brackets and colons in what a user wrote are no markup."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    console.print(shown)
