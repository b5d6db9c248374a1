"""The online tables that the releases of the ledger read: materialization fills them and keeps no others."""

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
    """Return the names of the online tables in the contracts of all releases.

    Raises
    ------
    BundleError
        If the bundle of a release is not in the folder `bundles`, or is not trusted, so that its tables are unknown.

    """
    digests = connection.execute("SELECT DISTINCT bundle_digest FROM panthera.release ORDER BY 1").fetchall()
    contents = (check_bundle(bundles / digest, trusted) for (digest,) in digests)
    contracts = (contract_from_json(content["contract.json"]) for content in contents)
    return {view.online_table for contract in contracts for view in contract.views}


def record_tables(connection: psycopg.Connection, release_id: str, views: Sequence[ContractView]) -> None:
    """Write the online tables of a release to the database, so that materialization does not need the bundle."""
    connection.cursor().executemany(
        "INSERT INTO panthera.release_table (release_id, view, online_table) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        [(release_id, view.name, view.online_table) for view in views],
    )


def record_missing_tables(connection: psycopg.Connection, bundles: Path, trusted: TrustedKeys) -> None:
    """Write the online tables of releases that an earlier version registered; see `record_tables`.

    A release with an unreadable bundle is skipped: it cannot serve, and `panthera status` names it.
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
