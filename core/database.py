"""Connections for scripts beside this project: the names of `core.postgres.database` under an address that stays."""

from core.postgres.database import connect, ensure_database, running_database, sqlalchemy_url

__all__ = ["connect", "ensure_database", "running_database", "sqlalchemy_url"]
