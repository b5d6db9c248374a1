"""`bentoml serve` for real: a process of its own, on a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.serving.conftest import assert_is_problem
from tests.serving.worst_bodies import check_that_none_holds_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.settings import Settings
    from tests.serving.conftest import World

_ROOT = Path(__file__).parents[2]
_SECONDS_TO_START = 180


def _command(port: int) -> list[str]:
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    return [bentoml, "serve", "serving.service:PredictionService", "--host", "127.0.0.1", "--port", str(port)]


def _environment(settings: Settings) -> dict[str, str]:
    assert settings.database_url is not None
    places = {
        "PANTHERA_PLAN": str(settings.plan),
        "PANTHERA_STATE": str(settings.state),
        "PANTHERA_DATABASE_URL": settings.database_url,
        "BENTOML_HOME": str(settings.state / "bentoml"),
    }
    return {**os.environ, **places}


@contextmanager
def serving(settings: Settings) -> Iterator[httpx.Client]:
    """Run the service for the length of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = settings.plan.with_name("serve.log")
    with log.open("wb") as output, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        process = subprocess.Popen(
            _command(port), cwd=_ROOT, env=_environment(settings), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_live(client, process, log)
            yield client
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _wait_until_live(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        try:
            if client.get("/livez").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"the service did not start:\n{log.read_text()}")


def test_bentoml_serves_health_metrics_and_our_routes(bare_world: World) -> None:
    with serving(bare_world.settings) as client:
        not_ready = client.get("/readyz")
        assert not_ready.status_code == 503
        assert_is_problem(not_ready, "unavailable")
        assert "dvc repro" in not_ready.json()["detail"]
        refused = client.post("/v1/predict", json={"entity": {"account_id": 1}})
        assert refused.status_code == 503
        assert "dvc repro" in refused.json()["error"]["message"]
        outcome = {"outcome_id": "o1", "account_id": 1, "observed_at": "2026-03-20T00:00:00Z", "value": 1}
        assert client.post("/v1/outcomes", json={"outcomes": [outcome]}).json() == {"stored": 1, "duplicates": 0}
        metrics = client.get("/metrics").text
        assert 'panthera_requests_total{route="/v1/predict",status="503"} 1.0' in metrics
        assert 'panthera_request_seconds_count{route="/v1/outcomes"} 1.0' in metrics
        assert "bentoml_service_request_total" in metrics
        check_that_none_holds_up(str(client.base_url))


def test_a_port_that_is_taken_is_one_clear_line(bare_world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            _command(port),
            cwd=_ROOT,
            env=_environment(bare_world.settings),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: 127.0.0.1:{port} cannot be listened on")
    assert "Traceback" not in done.stderr


def test_a_plan_that_cannot_be_read_is_told_without_a_traceback(bare_world: World) -> None:
    bare_world.settings.plan.unlink()
    done = subprocess.run(
        _command(1), cwd=_ROOT, env=_environment(bare_world.settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "there is no plan here" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_of_the_service_sends_telemetry_or_loads_what_it_must_not(bare_world: World) -> None:
    check = (
        "import sys, bentoml\n"
        "from bentoml._internal.utils.analytics import usage_stats\n"
        "usage_stats.do_not_track()\n"
        "import serving.service\n"
        "assert usage_stats.do_not_track()\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "found = loaded & {'feast', 'mlflow', 'dvc', 'evidently', 'duckdb', 'pandas'}\n"
        "assert not found, found\n"
    )
    environment = {
        name: value for name, value in _environment(bare_world.settings).items() if not name.endswith("DO_NOT_TRACK")
    }
    subprocess.run([sys.executable, "-c", check], cwd=_ROOT, env=environment, check=True)
