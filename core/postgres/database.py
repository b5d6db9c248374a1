"""PostgreSQL by psycopg 3: connections with translated errors, and numbered migrations."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib import resources
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from core.errors import DatabaseError, DatabaseTimeoutError, PantheraError, SourceError, StaleStateError
from core.postgres.advisory_locks import Lock, hold
from core.postgres.liveness import tcp_options
from core.postgres.server import EmbeddedServer
from core.postgres.session import (
    ENCODING,
    name_sessions,
    prepare_engines,
    prepare_session,
    session_options,
    source_options,
)
from core.settings import DATABASE_URL_ENV

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from core.settings import Settings

_SECONDS_TO_CONNECT = 5


def ensure_database(settings: Settings) -> str:
    """Start the embedded server unless the settings name one, apply the migrations, and return the libpq URL."""
    if settings.database_url is None:
        server = EmbeddedServer(settings.state)
        server.start()
        url = server.url
    else:
        url = settings.database_url
    migrate(url)
    return url


@contextmanager
def running_database(settings: Settings) -> Iterator[str]:
    """Yield the libpq URL of a running, migrated database.

    If the embedded server was started for the block, it is stopped at the end, unless another program uses it by then.
    """
    server = EmbeddedServer(settings.state)
    started = settings.database_url is None and server.start()
    if started:
        name_sessions(_own_name())
    try:
        yield ensure_database(settings)
    finally:
        if started and not _used_by_others(server.url):
            server.stop()


def _own_name() -> str:
    return f"panthera {os.getpid()}"


def _used_by_others(url: str) -> bool:
    try:
        with connect(url) as connection:
            sessions = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                "AND application_name <> %s AND pid <> pg_backend_pid()",
                [_own_name()],
            ).fetchone()
    except DatabaseError:  # a server that does not answer has no other users
        return False
    return sessions != (0,)


def shown(url: str) -> str:
    """Return host, port and database of `url` for messages, without user and password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return f"the address in {DATABASE_URL_ENV}"
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


@contextmanager
def connect(url: str, limits: str = "") -> Iterator[psycopg.Connection]:
    """Yield a connection with the settings of `core.postgres.session`; commit at the end of the block, roll back on an error.

    `limits` are server options, appended to those of `url`.

    Raises
    ------
    DatabaseError
        If `url` is not a libpq URL, its server cannot be reached or refuses a statement, or its database is not UTF-8.
    StaleStateError
        If a statement names a table that does not exist.

    """
    connection = _open(url, session_options(f"{_url_options(url)} {limits}".strip()))
    try:
        with connection:
            prepare_session(connection, shown(url))
            connection.autocommit = False
            yield connection
    except psycopg.Error as error:
        raise translated(error, url) from error


def _open(url: str, options: str, url_env: str = DATABASE_URL_ENV) -> psycopg.Connection:
    """Open and return a connection in autocommit mode; raise DatabaseError if the server cannot be reached."""
    try:
        return psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=_SECONDS_TO_CONNECT,
            options=options,
            client_encoding=ENCODING,
            **tcp_options(url),
        )
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        embedded = " (`panthera up` for the embedded one)" if url_env == DATABASE_URL_ENV else ""
        raise DatabaseError(
            f"PostgreSQL at {shown(url)} cannot be reached ({reason}); start it{embedded} or correct {url_env}"
        ) from None


def translated(error: psycopg.Error, url: str) -> PantheraError:
    """Return the PantheraError for an error of psycopg: what failed at which server, and what to do."""
    if isinstance(error, psycopg.errors.UndefinedTable):
        return StaleStateError(f"{_reason(error)}; run `panthera repair` to restore it")
    if isinstance(error, (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory)):
        return DatabaseError(
            f"PostgreSQL at {shown(url)} has no disk space or memory left ({_reason(error)}); free some and run again"
        )
    if isinstance(error, (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable)):
        return DatabaseTimeoutError(f"PostgreSQL at {shown(url)} did not finish in time ({_reason(error)}); try again")
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return DatabaseError(f"PostgreSQL at {shown(url)} does not answer ({_reason(error)}); try again")
    return DatabaseError(f"PostgreSQL at {shown(url)} refused a statement: {_reason(error)}")


def _reason(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def copy_query_to_csv(
    url: str,
    query: str,
    file: IO[bytes],
    session: Callable[[str], str] = source_options,
    url_env: str = DATABASE_URL_ENV,
) -> list[str]:
    """Write the rows of `query` to `file` as CSV with a header; return the column names.

    NULL is written as an empty field, an empty text as "". `session` composes the session options from those of `url`:
    `source_options` for a source, `session_options` for the platform's own database. `url_env` is the environment variable
    that holds `url`.

    Raises
    ------
    DatabaseError
        If the server cannot be reached.
    SourceError
        If it refuses the query.

    """
    # The plan's author is trusted with SQL; a read-only session guards against mistakes.
    rows = sql.SQL(query.strip().rstrip(";"))
    with _open(url, session(_url_options(url, url_env)), url_env) as connection:
        connection.autocommit = False
        connection.read_only = True
        try:
            described = connection.execute(sql.SQL("SELECT * FROM ({}\n) AS source LIMIT 0").format(rows)).description
            with connection.cursor().copy(sql.SQL("COPY ({}\n) TO STDOUT (FORMAT csv, HEADER)").format(rows)) as chunks:
                for chunk in chunks:
                    file.write(chunk)
        except psycopg.Error as error:
            reason = " ".join(str(error).split())
            raise SourceError(
                f"{shown(url)} refused the query: {reason}; correct the query, or what its user may do"
            ) from None
    return [column.name for column in described or ()]


def _url_options(url: str, url_env: str = DATABASE_URL_ENV) -> str:
    """Return the server options in `url`; raise DatabaseError, without quoting the text, if it is not a libpq URL."""
    try:
        if url.startswith(("postgresql://", "postgres://")):
            return str(conninfo_to_dict(url).get("options") or "")
    except psycopg.ProgrammingError:
        pass
    raise DatabaseError(
        f"{url_env} is not a libpq URL like postgresql://user@host:5432/database; "
        "write special characters in its parts as %XX"
    ) from None


def sqlalchemy_url(url: str, schema: str) -> str:
    """Return the SQLAlchemy URL for a libpq URL, with `schema` as the search path."""
    prepare_engines()
    options = session_options(_url_options(url), {"search_path": schema})
    address, _, query = url.partition("://")[2].partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith(("options=", "client_encoding="))]
    added = [f"client_encoding={ENCODING}", f"options={quote(options, safe='=,')}"]
    return f"postgresql+psycopg://{address}?{'&'.join([*kept, *added])}"


def _migrations() -> dict[int, bytes]:
    """Read the SQL files of the migrations, by number."""
    files = [file for file in resources.files("core.postgres.migrations").iterdir() if file.name.endswith(".sql")]
    scripts = {int(file.name[:4]): file.read_bytes() for file in files}
    if len(scripts) < len(files):
        raise DatabaseError("two files in core/postgres/migrations have the same number; renumber the newer one")
    return scripts


def migrate(url: str) -> list[int]:
    """Apply the pending migrations in order, in one transaction; return their numbers.

    Raises
    ------
    DatabaseError
        If the database was migrated by a newer version of this software.

    """
    return _apply(url, _migrations())


def _is_current(connection: psycopg.Connection, scripts: Mapping[int, bytes]) -> bool:
    """Return whether all migrations are applied; a user who may not apply any can ask this."""
    row = connection.execute("SELECT to_regclass('panthera.migration')").fetchone()
    if not row or row[0] is None:
        return False
    return {row[0] for row in connection.execute("SELECT number FROM panthera.migration")} == scripts.keys()


def _apply(url: str, scripts: Mapping[int, bytes]) -> list[int]:
    with connect(url) as connection:
        if _is_current(connection, scripts):
            return []
        hold(connection, Lock.MIGRATIONS)
        connection.execute("CREATE SCHEMA IF NOT EXISTS panthera")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS panthera.migration "
            "(number int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row[0] for row in connection.execute("SELECT number FROM panthera.migration")}
        if done - scripts.keys():
            raise DatabaseError(
                f"the database at {shown(url)} has migration {max(done)}, which this software does not know "
                f"(its newest is {max(scripts)}); update the software, or name another database"
            )
        pending = sorted(scripts.keys() - done)
        for number in pending:
            connection.execute(scripts[number])
            connection.execute("INSERT INTO panthera.migration (number) VALUES (%s)", [number])
    return pending
