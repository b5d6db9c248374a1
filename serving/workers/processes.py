"""The processes of `bentoml serve`: a manager that nobody outside can command, and workers that end with it.

BentoML's manager (Circus) listens for commands on two ports of the loopback interface, where every local user may have
it run programs. Here its sockets live inside its own process, so that there is nothing to connect to.
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

#: Prometheus's client looks for this name; BentoML sets it to a folder that all services of a user share.
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "panthera-serve-"
#: How often the manager looks whether its workers live.
_SECONDS_BETWEEN_CHECKS = 1.0
#: How long a worker may take to answer its last requests; then it is killed.
_SECONDS_TO_STOP = 9.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many processors this process may use: those it may run on, or fewer if its container has a quota."""
    allowed = len(os.sched_getaffinity(0))
    try:
        time, _, period = quota.read_text().partition(" ")
        return max(1, min(allowed, int(time) // int(period)))
    except (OSError, ValueError):  # no container, or one without a quota: "max"
        return allowed


def manage_privately() -> None:
    """Make the manager that BentoML is about to start private, in the process that starts it.

    Raises
    ------
    PantheraError
        If this BentoML does not make its manager in the way that is replaced here; then nothing may be served.

    """
    circus: Any = import_module("bentoml._internal.utils.circus")
    try:
        circus.Arbiter = _private(circus.Arbiter)
        circus.ThreadedArbiter = _private(circus.ThreadedArbiter)
    except AttributeError as error:
        raise _unfit(f"its module {circus.__name__} has no {error.name}") from None
    os.register_at_fork(after_in_child=partial(end_with_parent, os.getpid()))


def _unfit(found: str) -> PantheraError:
    return PantheraError(
        f"this version of BentoML starts its processes otherwise than expected ({found}), so they would take commands "
        "from every local user; install the version that requirements.lock names"
    )


def _private(manager: Any) -> Any:
    """Return the class `manager` with sockets that no other process reaches."""
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
            # A plug-in (--reload) is a process of its own, which needs sockets in a folder; its mode is 700.
            home = f"ipc://{folder}/" if options.get("plugins") else "inproc://panthera-"
            private = {"endpoint": f"{home}commands", "pubsub_endpoint": f"{home}events"}
            super().__init__(watchers, **{**options, **private, "check_delay": _SECONDS_BETWEEN_CHECKS})
            self.exit_stack.callback(shutil.rmtree, folder, ignore_errors=True)

        def stop(self) -> Any:
            """Stop the workers; called again shortly if they are just being looked after, which Circus refuses."""
            try:
                stopping = super().stop()
            except import_module("circus.exc").ConflictError:
                return self.loop.call_later(0.1, self.stop)
            # From here on the workers alone accept connections, until each has stopped.
            self.sockets.close_all()
            return stopping

    return PrivateManager


def _make_folder() -> Path:
    """Make the folder of this service's processes, and remove those that killed ones left."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not Path("/proc", _manager_of(left)).exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def _manager_of(folder: Path) -> str:
    return folder.name.removeprefix(_PREFIX).partition("-")[0]


def metrics_folder() -> Path:
    """Return the folder to which all workers of this service write their metrics.

    Raises
    ------
    PantheraError
        If the manager is not the private one: then this worker must not serve.

    """
    folder = Path(os.environ.get(_METRICS_FOLDER, ""))
    if not folder.name.startswith(_PREFIX):
        raise _unfit("a worker was started by a manager that was not replaced")
    return folder


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process, a child of the process `parent`, when that ends in any way."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)
