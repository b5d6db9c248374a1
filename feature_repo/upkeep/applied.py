"""What the stage `apply` made: the online table of each view, from its receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import StaleStateError
from core.files import read_receipt
from core.postgres.database import connect
from feature_repo.online import tables

if TYPE_CHECKING:
    from pathlib import Path


def applied_tables(receipt: Path, url: str) -> dict[str, str]:
    """Read from the receipt which online table each view has, and check that each is there.

    Raises
    ------
    StaleStateError
        If one is not: the database was wiped or is another one since.

    """
    views = read_receipt(receipt, "apply")["views"]
    if not isinstance(views, dict):
        raise StaleStateError(f"{receipt}: no views stand in it; run `panthera repair`")
    with connect(url) as connection:
        for view, table in views.items():
            if not tables.exists(connection, table):
                raise StaleStateError(
                    f"{receipt} says that the view {view!r} was applied as online.{table}, but the database has no such "
                    "table (it was wiped, or is another one): run `panthera repair`"
                )
    return views
