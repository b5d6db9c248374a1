"""Which online tables the releases of the ledger read, so that these are filled, and no other one is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import BundleError
from models.bundles.bundle import check_bundle
from models.bundles.contract_format import contract_from_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import psycopg

    from core.contracts import ContractView
    from models.bundles.signing import TrustedKeys


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


def record_tables(connection: psycopg.Connection, release_id: str, views: Sequence[ContractView]) -> None:
    """Write down which online tables a release reads, so that whatever fills tables knows it without the bundle."""
    connection.cursor().executemany(
        "INSERT INTO panthera.release_table (release_id, view, online_table) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        [(release_id, view.name, view.online_table) for view in views],
    )


def record_missing_tables(connection: psycopg.Connection, bundles: Path, trusted: TrustedKeys) -> None:
    """Do what `record_tables` does for the releases that an earlier version entered.

    A release whose bundle cannot be read is left out: it cannot answer, and `panthera status` names it.
    """
    unknown = connection.execute(
        "SELECT release_id, bundle_digest FROM panthera.release "
        "WHERE release_id NOT IN (SELECT release_id FROM panthera.release_table)"
    ).fetchall()
    for release_id, digest in unknown:
        try:
            contents = check_bundle(bundles / digest, trusted)
        except BundleError:
            continue
        record_tables(connection, release_id, contract_from_json(contents["contract.json"]).views)
