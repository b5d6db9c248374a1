"""How SQLAlchemy finds the database of Feast's registry: where the settings say, looked up when it connects.

So feature_store.yaml names no place, and Feast's own program finds the same database as ours without being told.
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
    """PostgreSQL over psycopg, of URLs that say `postgresql+panthera://` and nothing else."""

    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> Any:  # noqa: ARG002
        """Say what psycopg connects to; the embedded server is started if it is the one."""
        return super().create_connect_args(  # type: ignore[no-untyped-call]
            make_url(sqlalchemy_url(ensure_database(feast_settings()), "feast"))
        )


def register_dialect() -> None:
    """Let SQLAlchemy know the dialect by its name."""
    registry.register(_NAME, __name__, RegistryDialect.__name__)
