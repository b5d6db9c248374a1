"""The BentoML service: `bentoml serve serving.service:PredictionService`; no other module imports BentoML.

BentoML loads, packages, starts and stops the service and restarts its workers. All HTTP requests are handled by
`serving.app`, within the limits of `serving.workers.http_protocol`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from importlib import import_module
from pathlib import Path

from core.settings import silence_telemetry

silence_telemetry()

import bentoml  # noqa: E402
import click  # noqa: E402
from bentoml._internal.configuration.containers import BentoMLContainer  # noqa: E402
from bentoml._internal.context import server_context  # noqa: E402
from bentoml._internal.utils.analytics import usage_stats  # noqa: E402

from core.errors import PantheraError  # noqa: E402
from core.plan.text import read_sections  # noqa: E402
from core.settings import read_settings, tls_files  # noqa: E402
from serving.access.tokens import TokenTerms  # noqa: E402
from serving.app import create_app  # noqa: E402
from serving.signals.spans import traces_url  # noqa: E402
from serving.wire.hosts import parse_allowed_hosts  # noqa: E402
from serving.workers.collector import tune_collector  # noqa: E402
from serving.workers.processes import cores, manage_privately  # noqa: E402
from serving.workers.tls import bentoml_options, check_tls, limit_handshakes  # noqa: E402
from serving.workers.worker import check_served_alone, join_service, serve_alone  # noqa: E402

# BentoML's command line has evaluated this function before it imports this module, and caches the result.
usage_stats.do_not_track.cache_clear()


def _prepare_worker() -> None:
    """Prepare for requests: import a slow module, silence the warnings of the pool's retries, tune the garbage collector."""
    if WORKER is not None:
        check_served_alone()
    import_module("scipy.stats")  # the import takes seconds; /v1/cohorts needs it
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    tune_collector()
    limit_handshakes(asyncio.get_running_loop())


def _refuse_taken_port() -> None:
    """Raise PantheraError if the port of `bentoml serve` is in use; BentoML would fail with a traceback."""
    context = click.get_current_context(silent=True)
    if context is None:  # started by a program, which chooses the port itself
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
    """Return the working folder of the workers: the folder of the code for a bento, else the current folder."""
    in_bento = PredictionService.bento is not None  # type: ignore[attr-defined]  # the decorator makes it a Service
    return Path(__file__).parents[1] if in_bento else Path.cwd()


WORKER = server_context.worker_index
METRICS = join_service(WORKER) if WORKER is not None else None
APPLICATION = create_app(started=_prepare_worker, metrics=METRICS)
if WORKER is not None:
    serve_alone(APPLICATION)


@bentoml.service(
    name="panthera_prediction",
    # A killed worker is back after seconds; a second worker answers meanwhile, if there is a processor for it.
    workers=min(2, cores()),
    http={"host": "127.0.0.1"},
    # Requests bypass BentoML's own metrics and logging, see `serve_alone`.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    # The options --ssl-certfile and --ssl-keyfile win over the settings.
    **bentoml_options(*tls_files()),
)
@bentoml.asgi_app(APPLICATION, path="/")
class PredictionService:
    """The HTTP service; see `serving.app` for its routes."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_start() -> None:
        """Exit with a one-line error if the plan or a setting is invalid, or the port is in use."""
        try:
            settings = read_settings()
            read_sections(_working_folder() / settings.plan)
            parse_allowed_hosts(settings.allowed_hosts)
            if settings.otlp_url:
                traces_url(settings.otlp_url)
            TokenTerms.of(settings)
            check_tls(settings.tls_certificate, settings.tls_key)
            _refuse_taken_port()
            manage_privately()
        except PantheraError as error:
            raise SystemExit(f"error: {error}") from None
