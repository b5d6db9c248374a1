"""Tables on a terminal, in which nothing is cut off."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import RenderableType
    from rich.table import Table

#: Columns of text where no terminal and no `COLUMNS` says how many there are: a file or another program wants whole lines.
_WIDE = 240


def terminal_table(*headings: str, numbers: Collection[str] = (), title: str, caption: str | None = None) -> Table:
    """Make a table with these headings, `numbers` among them set to the right; a cell that is too long goes on below."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    columns = [
        Column(heading, overflow="fold", justify="right" if heading in numbers else "left") for heading in headings
    ]
    return Table(*columns, title=title, caption=caption, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)


def print_whole(shown: RenderableType) -> None:
    """Print tables as they are: brackets and colons in what a user wrote are no markup."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    console.print(shown)
