"""Which online tables the releases of the ledger read, so that no other one is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.bundle import check_bundle
from models.contract_format import contract_from_json

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

    from models.signing import TrustedKeys


def needed_tables(connection: psycopg.Connection, bundles: Path, trusted: TrustedKeys) -> set[str]:
    """Read from the contract of every release which online tables it reads.

    Raises
    ------
    BundleError
        If the bundle of a release is not in the folder `bundles`, or cannot be trusted: what it needs is not known then.

    """
    digests = connection.execute("SELECT DISTINCT bundle_digest FROM panthera.release ORDER BY 1").fetchall()
    contents = (check_bundle(bundles / digest, trusted) for (digest,) in digests)
    contracts = (contract_from_json(content["contract.json"]) for content in contents)
    return {view.online_table for contract in contracts for view in contract.views}
