"""The settings of every PostgreSQL session, whatever the database, the role or the environment sets.

They are passed as options of the start-up packet, which take precedence over `ALTER DATABASE … SET` and
`ALTER ROLE … SET`. They need no round trip, and also hold for tools that get only a URL.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

import psycopg

from core.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The encoding of the database and of the connection.
ENCODING = "UTF8"
#: Settings for the conversion between values and text. A URL cannot change these.
VALUES = {
    "timezone": "UTC",
    "datestyle": "ISO,YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
}
#: Settings of transactions: isolation, durability and time limits. A URL may override these.
TRANSACTIONS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "synchronous_commit": "on",
    "exit_on_error": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
#: The platform's statements name every table with its schema.
SEARCH_PATH = {"search_path": "public"}
#: Environment variables that libpq applies after all options, so that no URL can override them.
_OVERRIDING_VARIABLES = ("PGTZ", "PGDATESTYLE", "PGGEQO")
#: The first version with transaction_timeout, an unknown option to older servers.
_WITH_TRANSACTION_TIMEOUT = 170_000


def session_options(url_options: str, fixed: Mapping[str, str] = SEARCH_PATH) -> str:
    """Compose the options of a session with the platform's database; `fixed` and `VALUES` override `url_options`."""
    remove_overriding_variables()
    return " ".join(filter(None, [_options(TRANSACTIONS), url_options, _options({**VALUES, **fixed})]))


def source_options(url_options: str) -> str:
    """Compose the options of a session with a source; its search path and time limits are left to its owner."""
    remove_overriding_variables()
    return " ".join(filter(None, [url_options, _options(VALUES)]))


def remove_overriding_variables() -> None:
    """Remove the environment variables of this process that would override the options of a session."""
    for name in _OVERRIDING_VARIABLES:
        os.environ.pop(name, None)


def name_sessions(name: str) -> None:
    """Set the application name of the sessions of this process and of its child processes."""
    os.environ["PGAPPNAME"] = name


def _options(settings: Mapping[str, str]) -> str:
    return " ".join(f"-c{name}={value.replace(' ', chr(92) + ' ')}" for name, value in settings.items())


def prepare_session(connection: psycopg.Connection, server: str) -> None:
    """Check that the database is in UTF-8, and remove the time limit of transactions; `server` is named in the error.

    Raises
    ------
    DatabaseError
        If the database has another encoding.

    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != ENCODING:
        raise DatabaseError(
            f"the database at {server} has the encoding {encoding}, which cannot hold every text; expected {ENCODING}: "
            f"make one with `CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0`, and name it in PANTHERA_DATABASE_URL"
        )
    _remove_transaction_timeout(connection)


def prepare_engines() -> None:
    """Remove the time limit of transactions in each connection that SQLAlchemy opens in this process."""
    # By name: the image of the service has no SQLAlchemy and never calls this, and its test follows every import statement.
    event, engine = import_module("sqlalchemy.event"), import_module("sqlalchemy.engine").Engine
    if not event.contains(engine, "connect", _prepare_engine):
        event.listen(engine, "connect", _prepare_engine)


def _prepare_engine(connection: object, _record: object) -> None:
    if isinstance(connection, psycopg.Connection):  # SQLAlchemy may also open SQLite
        _remove_transaction_timeout(connection)
        connection.commit()


def _remove_transaction_timeout(connection: psycopg.Connection) -> None:
    if connection.info.server_version >= _WITH_TRANSACTION_TIMEOUT:
        connection.execute("SET transaction_timeout = 0")
