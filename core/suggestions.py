"""The end of an error about a name that nobody declared."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def allowed_here(found: str, allowed: Iterable[str]) -> str:
    """Say what is allowed, and which of it `found` may have meant.

    >>> allowed_here("num_leafs", ["num_leaves", "seed"])
    "allowed here: num_leaves, seed; did you mean 'num_leaves'?"
    """
    names = list(allowed)
    close = get_close_matches(found, names, n=1)
    return f"allowed here: {', '.join(names) or 'nothing'}" + (f"; did you mean {close[0]!r}?" if close else "")
