"""Stable import path of `core.postgres.database` for scripts outside this project."""

from core.postgres.database import connect, ensure_database, running_database, sqlalchemy_url

__all__ = ["connect", "ensure_database", "running_database", "sqlalchemy_url"]
