"""A worker of `bentoml serve`: what becomes of its process before BentoML starts uvicorn in it.

BentoML's own routes and layers (a page that loads scripts of third parties, a label of the metrics for every path that
anybody asks for, a timer for every request) are not served: requests go to our application alone.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import uvicorn

from core.errors import PantheraError
from serving.workers.http_protocol import BoundedConfig
from serving.workers.processes import metrics_folder
from serving.workers.worker_metrics import join_workers

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send


def join_service(worker: int) -> Path:
    """Make this process a worker of a private manager; return the folder of the metrics of all workers."""
    try:
        folder = metrics_folder()
    except PantheraError as error:
        raise _stop_service(str(error)) from None
    join_workers(folder, worker)
    return folder


def serve_alone(application: ASGIApp) -> None:
    """Have the uvicorn that BentoML is about to start answer with `application`, under our bounds."""

    class Config(BoundedConfig):
        def __init__(self, app: ASGIApp, **options: Any) -> None:
            super().__init__(_Hosted(app, application), **options)

    uvicorn.Config = Config  # type: ignore[assignment,misc]


class _Hosted:
    """BentoML's application, which starts and stops ours, and ours, which answers."""

    began = False

    def __init__(self, host: ASGIApp, guest: ASGIApp) -> None:
        self._host, self._guest = host, guest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            type(self).began = True
            await self._host(scope, receive, send)
        else:
            await self._guest(scope, receive, send)


def check_served_alone() -> None:
    """Stop the whole service if it was started in another way than `serve_alone` prepares."""
    if not _Hosted.began:
        raise _stop_service(
            "this version of BentoML starts uvicorn otherwise than expected, so requests would reach its own routes; "
            "install the version that requirements.lock names"
        )


def _stop_service(reason: str) -> SystemExit:
    os.kill(os.getppid(), signal.SIGTERM)
    return SystemExit(f"error: {reason}")
