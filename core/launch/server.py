"""The server of one DVC process: imports what stages import, and forks for each; it ends with DVC.

It only imports, so that none of its threads computes or holds a lock when it forks. OpenBLAS and jemalloc, which start threads
when they are loaded, stop them for a fork by themselves. OpenMP, Arrow, DuckDB and MLflow start theirs at their first use.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import select
import signal
import socket
import struct
import sys
import threading
import warnings
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from core.launch.client import REPLY
from core.launch.request import STAGE_ENV, Request, is_running, receive_request, use_streams
from core.settings import silence_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from core.launch.request import Process

_PEER = struct.Struct("=3i")  # pid, uid, gid
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux
#: The time of change and the size of a file.
_Version = tuple[int, int]


def serve(listener: socket.socket, path: Path, dvc: Process) -> str:
    """Answer requests until the DVC process ends, and end this process then; return the module to run in a stage's fork."""
    _leave_terminal()
    silence_telemetry()
    files: dict[str, _Version] = {}
    with listener, _ended(dvc.pid) as ended:
        while is_running(dvc) and listener.fileno() in _readable(listener.fileno(), ended):
            connection, _ = listener.accept()
            filters = ExitStack()  # what libraries filter holds for the stage that imports them
            filters.enter_context(warnings.catch_warnings())
            with connection:
                request = _ready_request(connection, files)
                if request is None:
                    break
                stage = os.fork()
                if not stage:
                    _become(request)
                    return request.module
                filters.close()
                _wait(stage, request, connection)
    path.unlink(missing_ok=True)
    os._exit(0)


@contextmanager
def _ended(pid: int) -> Iterator[int]:
    """Yield a descriptor that is readable as soon as the process has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _readable(*descriptors: int) -> list[int]:
    """Wait until one of the descriptors is readable; return those that are."""
    return select.select(descriptors, [], [])[0]


def _leave_terminal() -> None:
    """Start a session, and release the standard streams, so that nobody waits for this process."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.close(nothing)


def _ready_request(connection: socket.socket, files: dict[str, _Version]) -> Request | None:
    """Receive a request and import its module; return None if a plain process has to run it."""
    try:
        _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if user != os.getuid():
            return None
        request = receive_request(connection)
        import_stage(request.module)
    except Exception:  # noqa: BLE001 - whatever it is, the plain process meets it too and tells it
        return None
    gc.freeze()
    return request if _are_unchanged(files) and threading.active_count() == 1 else None


def import_stage(name: str) -> None:
    """Import a stage's module, and the modules that its functions import: those in its `LIBRARIES`."""
    module = sys.modules.get(name) or import_module(name)
    for library in getattr(module, "LIBRARIES", ()):
        import_module(library)


def _are_unchanged(files: dict[str, _Version]) -> bool:
    """Tell whether the files of all modules are as they were when they were imported; remember those of new ones."""
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if name is not None:
            found = os.stat(name)  # noqa: PTH116 - thousands of files for each stage
            version = found.st_mtime_ns, found.st_size
            if files.setdefault(name, version) != version:
                return False
    return True


def _become(request: Request) -> None:
    """Make this fork the process that DVC meant to start."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    use_streams(request)
    os.environ[STAGE_ENV] = request.stage
    sys.argv[1:] = request.arguments
    atexit.register(gc.unfreeze)  # DuckDB reports what nobody collects as a leak
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _wait(stage: int, request: Request, connection: socket.socket) -> None:
    """Tell the client the stage's process and how it ended; kill it, with what it started, when the client ends."""
    for stream in request.streams:
        os.close(stream)
    with suppress(OSError):  # the stage itself was first
        os.setpgid(stage, stage)
    with _ended(stage) as ended:
        connection.send(REPLY.pack(stage))
        if ended not in _readable(ended, connection.fileno()):
            os.killpg(stage, signal.SIGKILL)
        _, status = os.waitpid(stage, 0)
    with suppress(OSError):  # the client was killed
        connection.send(REPLY.pack(status))
