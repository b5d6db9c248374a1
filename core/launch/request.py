"""What the client sends to the server, and where they meet: per DVC process, working folder and environment."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

#: DVC names the stage here; the other variables are the same for all stages of one run.
STAGE_ENV = "DVC_STAGE"
_SHELLS = {"sh", "dash", "bash", "zsh", "ash", "ksh", "fish"}
_STANDARD_STREAMS = (0, 1, 2)
_LARGEST_REQUEST = 1 << 16
_NAME_LENGTH = 24  # a socket's path has at most 107 bytes
_START_FIELD = 19  # of /proc/PID/stat, counted after the command's name


class Process(NamedTuple):
    """A process: its id, and its start in clock ticks since boot, so that a later one of the same id is another."""

    pid: int
    start: int


class Request(NamedTuple):
    """A stage to run: its module, arguments, DVC's name of it, and the client's descriptors of the standard streams."""

    module: str
    arguments: list[str]
    stage: str
    streams: list[int]


def find_dvc() -> Process | None:
    """Return the DVC process that started this one, directly or by a shell; None if there is none."""
    if STAGE_ENV not in os.environ:
        return None
    try:
        pid = os.getppid()
        if Path(f"/proc/{pid}/comm").read_text().strip() in _SHELLS:
            pid = int(_stat(pid)[1])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:3]
        if not any(word.rpartition(b"/")[2] == b"dvc" for word in words):
            return None
        return Process(pid, int(_stat(pid)[_START_FIELD]))
    except OSError:
        return None


def is_running(process: Process) -> bool:
    """Tell whether exactly this process still runs."""
    try:
        return int(_stat(process.pid)[_START_FIELD]) == process.start
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command's name, which may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def socket_path(dvc: Process) -> Path | None:
    """Return the path of the server's socket, in a folder that only this user may enter; None without such a folder."""
    folder = Path(tempfile.gettempdir()) / f"panthera-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode != stat.S_IFDIR | 0o700:
        return None
    return folder / _surroundings(dvc)[:_NAME_LENGTH]


def _surroundings(dvc: Process) -> str:
    """Return a digest of `dvc` and of all that a stage inherits, except for its name and its standard streams."""
    mask = os.umask(0o077)
    os.umask(mask)
    told = (
        dvc,
        sys.executable,
        sys.path,
        list(sys.flags),
        sys.warnoptions,
        str(Path.cwd()),
        sorted((name, value) for name, value in os.environ.items() if name != STAGE_ENV),
        mask,
        os.nice(0),
        sorted(os.sched_getaffinity(0)),
        [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")],
        [str(signal.getsignal(kind)) for kind in signal.valid_signals()],
        sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    )
    return hashlib.sha256(repr(told).encode(errors="surrogateescape")).hexdigest()


def send_request(connection: socket.socket, module: str) -> bool:
    """Send what this process is to do; tell whether that was possible: in one message, with all standard streams."""
    told = json.dumps([module, sys.argv[1:], os.environ[STAGE_ENV]]).encode()
    if len(told) > _LARGEST_REQUEST:
        return False
    try:
        socket.send_fds(connection, [told], _STANDARD_STREAMS)
    except OSError:
        return False
    return True


def receive_request(connection: socket.socket) -> Request:
    """Receive a request.

    Raises
    ------
    ValueError
        If it is not one: the client is of another version, or lacks a standard stream.

    """
    told, streams, _, _ = socket.recv_fds(connection, _LARGEST_REQUEST, len(_STANDARD_STREAMS))
    module, arguments, stage = json.loads(told)
    if len(streams) != len(_STANDARD_STREAMS):
        raise ValueError(f"{len(streams)} standard streams were sent, expected {len(_STANDARD_STREAMS)}")
    return Request(module, arguments, stage, streams)


def use_streams(request: Request) -> None:
    """Make the sent descriptors the standard streams of this process."""
    for number, stream in zip(_STANDARD_STREAMS, request.streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
