"""Feature stores of Feast's over ours, for the tests that ask through its client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import feast

    from tests.feature_repo.stores.taxi_world import Taxi


@pytest.fixture
def taxi(tmp_path: Path) -> Taxi:
    """A feature store over parquet files, without any row or view."""
    from tests.feature_repo.stores.taxi_world import open_taxi

    return open_taxi(tmp_path)


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[feast.FeatureStore]:
    """A feature store over a database, without any row or view."""
    from tests.feature_repo.stores.feast_shop import opened_store

    with opened_store(tmp_path, database_url) as opened:
        yield opened
