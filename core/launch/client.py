"""The process that DVC starts for a stage: it asks the server of this DVC process, which it starts if there is none."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING

from core.launch.request import find_dvc, send_request, socket_path

if TYPE_CHECKING:
    from pathlib import Path

    from core.launch.request import Process

#: The stage's process id, and later its wait status.
REPLY = struct.Struct("=q")
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def module_to_run(module: str) -> str:
    """Have the server run `module`, and end as the stage ended; return `module` if this process is to run it itself.

    In a fork that the server made for a stage, return the stage's module; `sys.argv` and the streams are the stage's, too.
    """
    try:
        found = _connect()
    except OSError:
        return module
    if isinstance(found, str):
        return found
    status = None if found is None else _served(found, module)
    if status is not None:
        _end_as(status)
    return module


def _connect() -> socket.socket | str | None:
    """Return a connection to the server; in a fork for a stage, the stage's module; None if there can be no server."""
    dvc = find_dvc()
    path = None if dvc is None else socket_path(dvc)
    if dvc is None or path is None:
        return None
    try:
        return _connection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return _start_server(path, dvc) or _connection(path)


def _connection(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()  # the server, a fork of this process, must not hold it: the end of the client closes it
        raise
    return connection


def _start_server(path: Path, dvc: Process) -> str | None:
    """Fork the server, which listens when this returns; return the stage's module in the forks that it makes."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with listener:
        listener.bind(str(path))
        listener.listen()
        if os.fork():
            return None
        try:
            from core.launch.server import serve

            return serve(listener, path, dvc)
        except BaseException:  # noqa: BLE001 - only a fork for a stage may go on from here
            os._exit(1)


def _served(connection: socket.socket, module: str) -> int | None:
    """Return the wait status of the stage's process; None if the server declines to run it."""
    with connection:
        stage = _reply(connection) if send_request(connection, module) else None
        return None if stage is None else _await(connection, stage)


def _reply(connection: socket.socket) -> int | None:
    """Return the number that the server sends; None if it ended instead."""
    try:
        received = connection.recv(REPLY.size)
    except OSError:
        return None
    return REPLY.unpack(received)[0] if len(received) == REPLY.size else None


def _await(connection: socket.socket, stage: int) -> int:
    """Return the wait status of the stage's process; hand on to it the signals that this one gets meanwhile."""
    kept = {kind: signal.signal(kind, lambda kind, _: os.kill(stage, kind)) for kind in _FORWARDED}
    status = _reply(connection)
    for kind, handler in kept.items():
        signal.signal(kind, handler)
    if status is None:
        print("error: the process that ran this stage was killed; see whether the memory suffices", file=sys.stderr)
        return signal.SIGKILL
    return status


def _end_as(status: int) -> None:
    """End this process with the exit code or by the signal of `status`."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
