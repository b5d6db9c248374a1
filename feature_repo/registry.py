"""Open Feast's feature store: its registry lies in our database, whose address it is given by the environment."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.database import connect, ensure_database, sqlalchemy_url
from core.errors import StaleStateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import feast

    from core.settings import Settings

#: The folder of feature_store.yaml, relative to the checkout.
REPO = Path("feature_repo")
REGISTRY_URL = "PANTHERA_REGISTRY_URL"
#: Any fixed number: the advisory lock of whoever changes the registry or materializes, which Feast leaves unlocked.
_LOCK = 7_205_333


def registry_environment(settings: Settings) -> dict[str, str]:
    """Give the environment that feature_store.yaml expands; start the embedded database if it is needed."""
    return {REGISTRY_URL: sqlalchemy_url(ensure_database(settings), "feast")}


@contextmanager
def changing_features(url: str) -> Iterator[None]:
    """Let nobody else apply or materialize until the end of the block, and wait for whoever does.

    The lock belongs to a connection of its own, so it goes with the process, however that ends.
    """
    with connect(url) as connection:
        connection.autocommit = True  # a transaction of this length would keep dead rows from being cleaned up
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        yield


def open_store(settings: Settings) -> feast.FeatureStore:
    """Open the feature store of this checkout; start the embedded database if it is needed.

    Raises
    ------
    StaleStateError
        If the registry cannot be opened.

    """
    import feast

    os.environ.update(registry_environment(settings))
    if not (REPO / "feature_store.yaml").exists():
        raise StaleStateError(f"there is no {REPO / 'feature_store.yaml'} here; run in the project's folder")
    return feast.FeatureStore(repo_path=str(REPO))
