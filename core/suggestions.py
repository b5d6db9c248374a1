"""Suggestions in error messages about unknown names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Number of names listed in a message.
_MOST_SHOWN = 60


def allowed_here(found: str, allowed: Iterable[str]) -> str:
    """Compose the end of an error message: the allowed names, and the one closest to `found`.

    >>> allowed_here("num_leafs", ["num_leaves", "seed"])
    "allowed here: num_leaves, seed; did you mean 'num_leaves'?"
    """
    names = list(allowed)
    close = get_close_matches(found, names, n=1)
    more = f" and {len(names) - _MOST_SHOWN:,} more" if len(names) > _MOST_SHOWN else ""
    shown = f"allowed here: {', '.join(names[:_MOST_SHOWN]) or 'nothing'}{more}"
    return shown + (f"; did you mean {close[0]!r}?" if close else "")
