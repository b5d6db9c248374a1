"""Open Feast's feature store, whose registry is in this project's database."""

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
#: Feast's commands that change the registry; `materialize` takes the lock itself.
_CHANGING_COMMANDS = {"apply", "teardown", "delete"}


def feast_settings() -> Settings:
    """Return the settings of the checkout, also after Feast has changed into the feature repository's folder."""
    settings, folder = read_settings(), Path.cwd()
    if not Path(_CONFIGURATION).exists() or not settings.state.is_relative_to(folder):
        return settings
    return replace(settings, state=folder.parent / settings.state.relative_to(folder))


@contextmanager
def changing_features(url: str) -> Iterator[None]:
    """Hold the lock for apply and materialize during the block; wait for another holder first.

    A connection of its own holds the lock, so that PostgreSQL releases it however the process ends.
    """
    with connect(url) as connection:
        connection.autocommit = True  # a long transaction would keep vacuum from removing dead rows
        hold_while_connected(connection, Lock.REGISTRY)
        yield


def run_feast(settings: Settings, arguments: Sequence[str]) -> int:
    """Run Feast's command line on this checkout's feature repository; return its exit code.

    Commands that change the registry hold the lock of `changing_features`.
    """
    program = Path(sys.executable).with_name("feast")
    command = [str(program), "-c", str(REPO), *arguments]
    url = ensure_database(settings)
    # Feast runs in the repository's folder. There, a relative state folder would be another one, with another database.
    environment = {**os.environ, DATABASE_URL_ENV: url, STATE_ENV: str(settings.state.resolve())}
    with changing_features(url) if _CHANGING_COMMANDS.intersection(arguments) else nullcontext():
        return subprocess.call(command, env=environment)  # noqa: S603 - no shell


def open_store(settings: Settings) -> feast.FeatureStore:
    """Return the feature store of this checkout; start the database of `settings`, with its registry, if necessary.

    Raises
    ------
    StaleStateError
        If the working folder has no feature_store.yaml.

    """
    import feast

    if not (REPO / _CONFIGURATION).exists():
        raise StaleStateError(f"there is no {REPO / _CONFIGURATION} here; run in the project's folder")
    store = feast.FeatureStore(repo_path=str(REPO))
    store.config.registry.path = sqlalchemy_url(ensure_database(settings), "feast")
    return store
