"""Names in a plan: one that is used is declared, and is not one of the platform's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.suggestions import allowed_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


Finding = tuple[str, str]

#: Column names that the platform adds to rows, and which a plan therefore may not use.
RESERVED = frozenset(
    {"event_timestamp", "created_timestamp", "event_time", "created_time", "as_of", "source_row", "label"}
)
#: Names that an entity key may not have: it shares tables with these columns (`split` in the training set).
KEYS_TAKEN = RESERVED | {"split"}


def undeclared(path: str, kind: str, name: str, declared: Iterable[str]) -> Iterator[Finding]:
    """Yield a finding at `path` if `name`, a name of that `kind`, is not among the declared ones."""
    names = list(declared)
    if name not in names:
        yield path, f"{name!r} is not a declared {kind}; {allowed_here(name, names)}"


def unreached(view: str, about: str, unit: str) -> str:
    """Return the fault of a view about an entity that no link of the predicted entity reaches."""
    return (
        f"the view {view!r} is about {about!r}, but what is predicted is {unit!r}: say which feature of {unit!r} holds its key "
        f"(entities.{about}.of: view.feature), or take the view out"
    )
