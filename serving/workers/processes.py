"""The processes of `bentoml serve`: a manager without open command sockets, and workers that end with it.

BentoML's manager (Circus) listens for commands on two ports of the loopback interface, through which every local user could
run programs. Here its sockets are inside its own process, so that no other process can connect to them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import tempfile
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import PantheraError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Environment variable of Prometheus's client; BentoML sets it to a folder that all services of a user share.
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "panthera-serve-"
#: Interval at which the manager checks its workers.
_SECONDS_BETWEEN_CHECKS = 1.0
#: Time for a stopping worker to finish its requests before it is killed.
_SECONDS_TO_STOP = 9.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the number of processors for this process: its CPU affinity, limited by the quota of its container."""
    allowed = len(os.sched_getaffinity(0))
    try:
        time, _, period = quota.read_text().partition(" ")
        return max(1, min(allowed, int(time) // int(period)))
    except (OSError, ValueError):  # no container, or one without a quota: "max"
        return allowed


def manage_privately() -> None:
    """Replace the manager classes of BentoML by ones with private sockets; call it in the process that starts the manager.

    Raises
    ------
    PantheraError
        If this version of BentoML has no such classes; the service must not start then.

    """
    circus: Any = import_module("bentoml._internal.utils.circus")
    try:
        circus.Arbiter = _private(circus.Arbiter)
        circus.ThreadedArbiter = _private(circus.ThreadedArbiter)
    except AttributeError as error:
        raise _unsupported(f"its module {circus.__name__} has no {error.name}") from None
    os.register_at_fork(after_in_child=partial(end_with_parent, os.getpid()))


def _unsupported(found: str) -> PantheraError:
    return PantheraError(
        f"this version of BentoML starts its processes otherwise than expected ({found}), so they would accept commands "
        "from every local user; install the version that requirements.lock names"
    )


def _private(manager: Any) -> Any:
    """Return a subclass of `manager` with sockets that no other process can reach."""
    if hasattr(manager, "is_private"):
        return manager

    class PrivateManager(manager):  # type: ignore[misc]
        is_private = True

        def __init__(self, watchers: Sequence[Any], **options: Any) -> None:
            folder = _make_folder()
            for watcher in watchers:
                watcher.env = {**watcher.env, _METRICS_FOLDER: str(folder)}
                watcher.graceful_timeout = _SECONDS_TO_STOP
                watcher.respawn = True
            # A plug-in (--reload) is a separate process, which needs sockets in a folder; the folder has mode 0700.
            home = f"ipc://{folder}/" if options.get("plugins") else "inproc://panthera-"
            private = {"endpoint": f"{home}commands", "pubsub_endpoint": f"{home}events"}
            super().__init__(watchers, **{**options, **private, "check_delay": _SECONDS_BETWEEN_CHECKS})
            self.exit_stack.callback(shutil.rmtree, folder, ignore_errors=True)

        def stop(self) -> Any:
            """Stop the workers; retry in 0.1 s if Circus is busy with another command."""
            try:
                stopping = super().stop()
            except import_module("circus.exc").ConflictError:
                return self.loop.call_later(0.1, self.stop)
            # From here on only the workers accept connections, until each has stopped.
            self.sockets.close_all()
            return stopping

    return PrivateManager


def _make_folder() -> Path:
    """Create and return the folder of this service's processes; remove folders of dead services."""
    for leftover in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not Path("/proc", _manager_of(leftover)).exists():
            shutil.rmtree(leftover, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def _manager_of(folder: Path) -> str:
    return folder.name.removeprefix(_PREFIX).partition("-")[0]


def metrics_folder() -> Path:
    """Return the folder to which all workers of this service write their metrics.

    Raises
    ------
    PantheraError
        If the manager is not the private one; this worker must not serve then.

    """
    folder = Path(os.environ.get(_METRICS_FOLDER, ""))
    if not folder.name.startswith(_PREFIX):
        raise _unsupported("a worker was started by a manager that was not replaced")
    return folder


def end_with_parent(parent: int) -> None:
    """Set up that the kernel sends SIGTERM to this process when its parent process `parent` ends for any reason."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the call
        os._exit(1)
