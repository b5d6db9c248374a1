"""What `panthera release …` does: read places, open the database, look at releases or change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.database import connect, ensure_database
from core.errors import StaleStateError
from core.suggestions import allowed_here
from models import ledger
from models.bundle import load_bundle, sign_bundle
from models.signing import read_signer

if TYPE_CHECKING:
    import psycopg

    from core.settings import Settings
    from models.ledger import LedgerRelease


def sign_verb(settings: Settings, release_id: str) -> str:
    """Sign the bundle of a release with the key of this place, and see that it loads; return the public key.

    Raises
    ------
    PantheraError
        If there is no such release, its bytes are not those that the ledger stands for, or it does not load.

    """
    with connect(ensure_database(settings)) as connection:
        release = find_release(connection, release_id)
    signer, path = read_signer(settings), settings.bundles / release.bundle_digest
    sign_bundle(path, signer)
    load_bundle(path, signer.trusted)
    return signer.public


def find_release(connection: psycopg.Connection, release_id: str) -> LedgerRelease:
    """Find a release by its id.

    Raises
    ------
    StaleStateError
        If the ledger has none of that id; it names those that it has, and which may have been meant.

    """
    found = ledger.find(connection, release_id)
    if found is None:
        known = [release.release_id for release in ledger.newest(connection, model=None, limit=20)]
        raise StaleStateError(f"the ledger has no release {release_id!r}; {allowed_here(release_id, known)}")
    return found
