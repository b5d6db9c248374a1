"""The keys in which two trees of values differ: plans, or descriptions of a service."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 60


@dataclass(frozen=True)
class Change:
    """A key that was added, removed or changed; `before` and `after` are None where the key is absent."""

    path: str
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None

    def cells(self) -> tuple[str, str, str]:
        """Compose the cells of a table: the key and both values."""
        before = "" if self.kind == "added" else _shown(self.before)
        return self.path, before, "" if self.kind == "removed" else _shown(self.after)


def changes(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Yield the keys in which two values differ, the deepest ones; lists are compared as a whole."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if before != after or type(before) is not type(after):
            yield Change(path, "changed", before, after)
        return
    for key in dict.fromkeys([*before, *after]):
        below = f"{path}.{key}" if path else str(key)
        if key not in after:
            yield Change(below, "removed", before=before[key])
        elif key not in before:
            yield Change(below, "added", after=after[key])
        else:
            yield from changes(before[key], after[key], below)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
