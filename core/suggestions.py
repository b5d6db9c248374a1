"""The end of an error about a name that nobody declared."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The names that a message lists.
_MOST_SHOWN = 60


def allowed_here(found: str, allowed: Iterable[str]) -> str:
    """Say what is allowed, and which of it `found` may have meant.

    >>> allowed_here("num_leafs", ["num_leaves", "seed"])
    "allowed here: num_leaves, seed; did you mean 'num_leaves'?"
    """
    names = list(allowed)
    close = get_close_matches(found, names, n=1)
    more = f" and {len(names) - _MOST_SHOWN:,} more" if len(names) > _MOST_SHOWN else ""
    shown = f"allowed here: {', '.join(names[:_MOST_SHOWN]) or 'nothing'}{more}"
    return shown + (f"; did you mean {close[0]!r}?" if close else "")
