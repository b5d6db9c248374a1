"""The one home of BentoML: `bentoml serve serving.service:PredictionService`."""

from __future__ import annotations

import logging
import socket
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from core.settings import silence_telemetry

silence_telemetry()

import bentoml  # noqa: E402
import click  # noqa: E402
from bentoml._internal.configuration.containers import BentoMLContainer  # noqa: E402
from bentoml._internal.utils.analytics import usage_stats  # noqa: E402

from core.errors import PantheraError  # noqa: E402
from core.plan_text import read_sections  # noqa: E402
from core.settings import read_settings  # noqa: E402
from serving.app import create_app  # noqa: E402
from serving.collector import settle_collector  # noqa: E402

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# BentoML's command line has asked before it imported this module, and remembers the answer.
usage_stats.do_not_track.cache_clear()


def _settle() -> None:
    """Import what would hold up requests later, quiet the pool's retries, and settle the garbage collector."""
    import_module("tea_tasting")  # seconds; /v1/cohorts needs it
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    settle_collector()


def _refuse_taken_port() -> None:
    """Try the port that `bentoml serve` was asked for; BentoML would answer a taken one with a traceback."""
    context = click.get_current_context(silent=True)
    if context is None:  # started by a program, which knows the port itself
        return
    host = context.params.get("host") or BentoMLContainer.http.host.get()
    port = context.params.get("port") or BentoMLContainer.http.port.get()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PantheraError(
                f"{host}:{port} cannot be listened on ({error.strerror}); stop what uses it, or choose another --port"
            ) from None


def _working_folder() -> Path:
    """Say where the workers run: those of a bento in the folder of its code, those of a checkout in the present one."""
    in_bento = PredictionService.bento is not None  # type: ignore[attr-defined]  # the decorator makes it a Service
    return Path(__file__).parents[1] if in_bento else Path.cwd()


APPLICATION = create_app(started=_settle)


class _OwnReadiness:
    """Has our application answer /readyz: BentoML's own answer gives no reason, and has another shape than our errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and scope["path"] == "/readyz"
        await (APPLICATION if ours else self._app)(scope, receive, send)


@bentoml.service(
    name="panthera_prediction",
    workers=1,
    # BentoML's timer of a request lives on for this long after its answer, so it is kept short.
    traffic={"timeout": 5},
    # The spans that nobody exports would cost a third of the time; a pattern is searched in the whole URL.
    tracing={"excluded_urls": ["/v1/"]},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(APPLICATION, path="/")
class PredictionService:
    """Answers over HTTP; see `serving.app` for its routes. BentoML adds /livez, /readyz and /metrics."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_start() -> None:
        """Refuse to start on a plan that cannot be read or a port that is taken, in one line and no traceback."""
        try:
            read_sections(_working_folder() / read_settings().plan)
            _refuse_taken_port()
        except PantheraError as error:
            raise SystemExit(f"error: {error}") from None

    async def __is_ready__(self) -> bool:
        """Say whether a prediction would be answered now; BentoML asks for /readyz."""
        return bool(await APPLICATION.state.runtime.is_ready())


PredictionService.add_asgi_middleware(_OwnReadiness)  # type: ignore[attr-defined]  # as above
