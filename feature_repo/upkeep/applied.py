"""Read the online table of each view from the receipt of the stage `apply`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import StaleStateError
from core.files import read_receipt
from core.postgres.database import connect
from feature_repo.online import tables

if TYPE_CHECKING:
    from pathlib import Path


def applied_tables(receipt: Path, url: str) -> dict[str, str]:
    """Return the online table of each view from the receipt.

    Raises
    ------
    StaleStateError
        If the receipt is damaged or a table does not exist: the database was wiped, or is another one.

    """
    views = read_receipt(receipt, "apply")["views"]
    if not isinstance(views, dict):
        raise StaleStateError(f"{receipt}: it has no field `views`; run `panthera repair`")
    with connect(url) as connection:
        for view, table in views.items():
            if not tables.exists(connection, table):
                raise StaleStateError(
                    f"{receipt}: the view {view!r} was applied as online.{table}, but the database has no such table (it "
                    "was wiped, or is another one): run `panthera repair`"
                )
    return views
