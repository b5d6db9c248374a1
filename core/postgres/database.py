"""PostgreSQL, over psycopg 3: where it is, connections with clear errors, and numbered migrations."""

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
from core.postgres.liveness import tcp_options
from core.postgres.server import EmbeddedServer
from core.postgres.session import ENCODING, name_sessions, session_options, settle, settle_engines, source_options
from core.settings import DATABASE_URL_ENV

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from core.settings import Settings

_SECONDS_TO_CONNECT = 5
#: Any fixed number: the advisory lock under which migrations run.
_MIGRATION_LOCK = 7_205_331


def ensure_database(settings: Settings) -> str:
    """Start the embedded server if none is named, bring the schema up to date, and return the libpq URL."""
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
    """Have a database with its schema for the length of the block, and return its libpq URL.

    An embedded server that was started for it is stopped at the end, unless another program uses it by then.
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
            others = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                "AND application_name <> %s AND pid <> pg_backend_pid()",
                [_own_name()],
            ).fetchone()
    except DatabaseError:  # nobody can use what does not answer
        return False
    return others != (0,)


def shown(url: str) -> str:
    """Describe the server at `url` for a message, without its password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return f"the address in {DATABASE_URL_ENV}"
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


@contextmanager
def connect(url: str, limits: str = "") -> Iterator[psycopg.Connection]:
    """Open a connection with the settings of `core.postgres.session`; commit at the end of the block, roll back on an error.

    `limits` are server options that come after those of `url`.

    Raises
    ------
    DatabaseError
        If `url` is not a libpq URL, its server cannot be reached or refuses a statement, or its database is not UTF-8.
    StaleStateError
        If a statement speaks of a table that is not there.

    """
    connection = _opened(url, session_options(f"{_given_options(url)} {limits}".strip()))
    try:
        with connection:
            settle(connection, shown(url))
            connection.autocommit = False
            yield connection
    except psycopg.Error as error:
        raise translated(error, url) from error


def _opened(url: str, options: str) -> psycopg.Connection:
    """Open a connection in which each statement is its own transaction."""
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
        raise DatabaseError(
            f"PostgreSQL at {shown(url)} cannot be reached ({reason}); start it (`panthera up` for the embedded one) "
            f"or correct {DATABASE_URL_ENV}"
        ) from None


def translated(error: psycopg.Error, url: str) -> PantheraError:
    """Return the error of a statement in the words of whoever runs the platform."""
    if isinstance(error, psycopg.errors.UndefinedTable):
        return StaleStateError(f"{_reason(error)}; run `panthera repair`, which brings it back")
    if isinstance(error, (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory)):
        return DatabaseError(f"PostgreSQL at {shown(url)} has no room left ({_reason(error)}); make room and run again")
    if isinstance(error, (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable)):
        return DatabaseTimeoutError(f"PostgreSQL at {shown(url)} was not done in time ({_reason(error)}); try again")
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return DatabaseError(f"PostgreSQL at {shown(url)} does not answer ({_reason(error)}); try again")
    return DatabaseError(f"PostgreSQL at {shown(url)} refused a statement: {_reason(error)}")


def _reason(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def copy_query_to_csv(
    url: str, query: str, file: IO[bytes], session: Callable[[str], str] = source_options
) -> list[str]:
    """Write the rows of `query` to `file` as CSV with a header, null as nothing and "" in quotes; return the columns.

    `session` composes the options of the session: those of a source, or of one of ours.

    Raises
    ------
    DatabaseError
        If the server cannot be reached.
    SourceError
        If it refuses the query.

    """
    # The plan's author is trusted with SQL; the session is read-only all the same.
    rows = sql.SQL(query.strip().rstrip(";"))
    with _opened(url, session(_given_options(url))) as connection:
        connection.autocommit = False
        connection.read_only = True
        try:
            described = connection.execute(sql.SQL("SELECT * FROM ({}\n) AS source LIMIT 0").format(rows)).description
            with connection.cursor().copy(sql.SQL("COPY ({}\n) TO STDOUT (FORMAT csv, HEADER)").format(rows)) as chunks:
                for chunk in chunks:
                    file.write(chunk)
        except psycopg.Error as error:
            raise SourceError(f"{shown(url)} refused the query: {' '.join(str(error).split())}") from None
    return [column.name for column in described or ()]


def _given_options(url: str) -> str:
    """Read the server options that `url` carries, and refuse what is not a URL: its text may hold a password."""
    try:
        if url.startswith(("postgresql://", "postgres://")):
            return str(conninfo_to_dict(url).get("options") or "")
    except psycopg.ProgrammingError:
        pass
    raise DatabaseError(
        f"{DATABASE_URL_ENV} is not a libpq URL like postgresql://user@host:5432/database; "
        "write special characters in its parts as %XX"
    ) from None


def sqlalchemy_url(url: str, schema: str) -> str:
    """Turn a libpq URL into one for the tools that use SQLAlchemy, with `schema` as their only one."""
    settle_engines()
    options = session_options(_given_options(url), {"search_path": schema})
    address, _, query = url.partition("://")[2].partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith(("options=", "client_encoding="))]
    added = [f"client_encoding={ENCODING}", f"options={quote(options, safe='=,')}"]
    return f"postgresql+psycopg://{address}?{'&'.join([*kept, *added])}"


def _migrations() -> dict[int, bytes]:
    """Read the numbered SQL files, by number."""
    files = [file for file in resources.files("core.postgres.migrations").iterdir() if file.name.endswith(".sql")]
    scripts = {int(file.name[:4]): file.read_bytes() for file in files}
    if len(scripts) < len(files):
        raise DatabaseError("two files in core/migrations have the same number; renumber the newer one")
    return scripts


def migrate(url: str) -> list[int]:
    """Apply the migrations that the database lacks, in their order and in one transaction; return their numbers.

    Raises
    ------
    DatabaseError
        If the database was migrated by a newer version of this software.

    """
    return _apply(url, _migrations())


def _apply(url: str, scripts: Mapping[int, bytes]) -> list[int]:
    with connect(url) as connection:
        take_lock(connection, _MIGRATION_LOCK)
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


def take_lock(connection: psycopg.Connection, key: int) -> None:
    """Take the advisory lock `key`, waiting for whoever holds it, until the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [key])
