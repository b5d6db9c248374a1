"""Open Feast's feature store: its registry lies in our database, whose address it is given by the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from core.database import ensure_database, sqlalchemy_url
from core.errors import StaleStateError

if TYPE_CHECKING:
    import feast

    from core.settings import Settings

#: The folder of feature_store.yaml, relative to the checkout.
REPO = Path("feature_repo")
REGISTRY_URL = "PANTHERA_REGISTRY_URL"


def registry_environment(settings: Settings) -> dict[str, str]:
    """Give the environment that feature_store.yaml expands; start the embedded database if it is needed."""
    return {REGISTRY_URL: sqlalchemy_url(ensure_database(settings), "feast")}


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
