"""The SQLAlchemy dialect of Feast's registry, which reads the database's address from the settings when it connects.

So feature_store.yaml contains no address, and Feast's command line finds the same database as this project's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import make_url

from core.postgres.database import ensure_database, sqlalchemy_url
from feature_repo.stores.registry import feast_settings

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_NAME = "postgresql.panthera"


class RegistryDialect(PGDialect_psycopg):
    """PostgreSQL over psycopg, for the URL `postgresql+panthera://`, which has no further parts."""

    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> Any:  # noqa: ARG002
        """Return psycopg's connection arguments from the settings; start the embedded server if they name it."""
        return super().create_connect_args(  # type: ignore[no-untyped-call]
            make_url(sqlalchemy_url(ensure_database(feast_settings()), "feast"))
        )


def register_dialect() -> None:
    """Register the dialect with SQLAlchemy."""
    registry.register(_NAME, __name__, RegistryDialect.__name__)
