"""What every session with PostgreSQL has in common, whatever the database, the role or the environment set.

Options of the start-up packet take precedence over `ALTER DATABASE … SET` and `ALTER ROLE … SET`, so they need no round trip
and hold for the tools that are only given a URL.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

import psycopg

from core.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The encoding of the server's text, and of what goes over the wire.
ENCODING = "UTF8"
#: How values become text, and text values. A URL cannot change these.
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
#: How transactions begin, what they survive and when they are given up. A URL may say otherwise.
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
#: Everything of ours is named with its schema.
SEARCH_PATH = {"search_path": "public"}
#: Variables that libpq turns into settings after all options, so that nothing in a URL could overrule them.
_OVERRULING = ("PGTZ", "PGDATESTYLE", "PGGEQO")
#: The first version with a time limit for whole transactions, which older servers do not know as an option.
_WITH_TRANSACTION_TIMEOUT = 170_000


def session_options(given: str, own: Mapping[str, str] = SEARCH_PATH) -> str:
    """Compose the options of one of our sessions: those `given` by the URL stand before all that it cannot change."""
    forget_overruling_variables()
    return " ".join(filter(None, [_options(TRANSACTIONS), given, _options({**VALUES, **own})]))


def source_options(given: str) -> str:
    """Compose the options of a session with a source: its schemas and time limits are those that its owner chose."""
    forget_overruling_variables()
    return " ".join(filter(None, [given, _options(VALUES)]))


def forget_overruling_variables() -> None:
    """Take the variables out of this process's environment that would overrule the options of a session."""
    for name in _OVERRULING:
        os.environ.pop(name, None)


def name_sessions(name: str) -> None:
    """Let the server know the sessions of this process, and of the programs that it starts, by `name`."""
    os.environ["PGAPPNAME"] = name


def _options(settings: Mapping[str, str]) -> str:
    return " ".join(f"-c{name}={value.replace(' ', chr(92) + ' ')}" for name, value in settings.items())


def settle(connection: psycopg.Connection, server: str) -> None:
    """Refuse a database whose text is not UTF-8, and lift the limit on transactions; `server` is named in the error.

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
    _lift_transaction_timeout(connection)


def settle_engines() -> None:
    """Lift the limit on transactions in each connection that an engine of SQLAlchemy opens in this process."""
    # By name: the image of the service holds no SQLAlchemy and never calls this, and its test follows every import.
    event, engine = import_module("sqlalchemy.event"), import_module("sqlalchemy.engine").Engine
    if not event.contains(engine, "connect", _settle_engine):
        event.listen(engine, "connect", _settle_engine)


def _settle_engine(connection: object, _record: object) -> None:
    if isinstance(connection, psycopg.Connection):  # not one to SQLite
        _lift_transaction_timeout(connection)
        connection.commit()


def _lift_transaction_timeout(connection: psycopg.Connection) -> None:
    if connection.info.server_version >= _WITH_TRANSACTION_TIMEOUT:
        connection.execute("SET transaction_timeout = 0")
