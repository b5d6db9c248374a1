"""A database with one registered release, for the tests that read the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.postgres.database import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url) as connection:
        for release in ("r1", "r2"):
            connection.execute(
                "INSERT INTO panthera.release VALUES (%s, 1, 'model', 'kind', %s, 'service', 'd', 'c', '1', '{}')",
                [release, f"digest-{release}"],
            )
        yield connection
