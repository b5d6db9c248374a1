"""A database with one registered release, for the tests that read exposures and outcomes."""

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
        connection.execute(
            "INSERT INTO panthera.release VALUES ('r1', 1, 'model', 'kind', 'digest', 'service', 'd', 'c', '1', '{}')"
        )
        yield connection
