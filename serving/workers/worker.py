"""The setup of a worker process of `bentoml serve`, before BentoML starts uvicorn in it.

Requests go to the platform's application only, not to BentoML's own routes and layers: a page with third-party scripts, a
metrics label for every requested path, a timer for every request.
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
    """Set up this process as worker number `worker`; return the metrics folder of all workers."""
    try:
        folder = metrics_folder()
    except PantheraError as error:
        raise _stop_service(str(error)) from None
    join_workers(folder, worker)
    return folder


def serve_alone(application: ASGIApp) -> None:
    """Replace uvicorn's configuration so that BentoML's server passes all requests to `application`, with `BoundedProtocol`."""

    class Config(BoundedConfig):
        def __init__(self, app: ASGIApp, **options: Any) -> None:
            super().__init__(_SplitApplication(app, application), **options)

    uvicorn.Config = Config  # type: ignore[assignment,misc]


class _SplitApplication:
    """An ASGI application that passes lifespan events to BentoML's application and requests to the platform's."""

    has_started = False

    def __init__(self, bentoml_app: ASGIApp, application: ASGIApp) -> None:
        self._bentoml_app, self._application = bentoml_app, application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            type(self).has_started = True
            await self._bentoml_app(scope, receive, send)
        else:
            await self._application(scope, receive, send)


def check_served_alone() -> None:
    """Stop the whole service if BentoML did not use the configuration set by `serve_alone`."""
    if not _SplitApplication.has_started:
        raise _stop_service(
            "this version of BentoML starts uvicorn otherwise than expected, so requests would reach its own routes; "
            "install the version that requirements.lock names"
        )


def _stop_service(reason: str) -> SystemExit:
    os.kill(os.getppid(), signal.SIGTERM)
    return SystemExit(f"error: {reason}")
