"""Open Feast's feature store: its registry lies in our database."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StaleStateError
from core.postgres.advisory_locks import Lock, hold_while_connected
from core.postgres.database import connect, ensure_database, sqlalchemy_url
from core.settings import DATABASE_URL_ENV, STATE_ENV, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import feast

    from core.settings import Settings

#: The folder of feature_store.yaml, relative to the checkout.
REPO = Path("feature_repo")
_CONFIGURATION = "feature_store.yaml"
#: Feast's commands that change the registry; `materialize` takes the lock for itself.
_CHANGING = {"apply", "teardown", "delete"}


def feast_settings() -> Settings:
    """Read the settings as the checkout has them, also where Feast has changed into the feature repository."""
    settings, here = read_settings(), Path.cwd()
    if not Path(_CONFIGURATION).exists() or not settings.state.is_relative_to(here):
        return settings
    return replace(settings, state=here.parent / settings.state.relative_to(here))


@contextmanager
def changing_features(url: str) -> Iterator[None]:
    """Let nobody else apply or materialize until the end of the block, and wait for whoever does.

    The lock belongs to a connection of its own, so it goes with the process, however that ends.
    """
    with connect(url) as connection:
        connection.autocommit = True  # a transaction of this length would keep dead rows from being cleaned up
        hold_while_connected(connection, Lock.REGISTRY)
        yield


def run_feast(settings: Settings, arguments: Sequence[str]) -> int:
    """Run Feast's own program on this checkout's feature repository; return its exit code.

    Where it changes the registry, nobody else applies or materializes meanwhile.
    """
    program = Path(sys.executable).with_name("feast")
    command = [str(program), "-c", str(REPO), *arguments]
    url = ensure_database(settings)
    # Feast runs in the repository's folder, where a relative state folder would be another one, with a database of its own.
    environment = {**os.environ, DATABASE_URL_ENV: url, STATE_ENV: str(settings.state.resolve())}
    with changing_features(url) if _CHANGING.intersection(arguments) else nullcontext():
        return subprocess.call(command, env=environment)  # noqa: S603 - no shell


def open_store(settings: Settings) -> feast.FeatureStore:
    """Open the feature store of this checkout, its registry in the database of `settings`, which is started if need be.

    Raises
    ------
    StaleStateError
        If the registry cannot be opened.

    """
    import feast

    if not (REPO / _CONFIGURATION).exists():
        raise StaleStateError(f"there is no {REPO / _CONFIGURATION} here; run in the project's folder")
    store = feast.FeatureStore(repo_path=str(REPO))
    store.config.registry.path = sqlalchemy_url(ensure_database(settings), "feast")
    return store
