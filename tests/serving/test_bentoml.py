"""`bentoml serve` for real: a process of its own, on a port of its own."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil

from core.access.key_table import Change, revoke_key
from core.postgres.database import connect
from serving.app import ROUTES
from tests.serving.access.conftest import bearer, make_key
from tests.serving.conftest import assert_is_problem
from tests.serving.worst_bodies import check_that_none_holds_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.settings import Settings
    from tests.serving.conftest import World

_ROOT = Path(__file__).parents[2]
_SECONDS_TO_START = 300


def _command(port: int) -> list[str]:
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    return [bentoml, "serve", "serving.service:PredictionService", "--port", str(port)]


def _environment(settings: Settings, workers: int = 1) -> dict[str, str]:
    assert settings.database_url is not None
    places = {
        "PANTHERA_PLAN": str(settings.plan),
        "PANTHERA_STATE": str(settings.state),
        "PANTHERA_DATABASE_URL": settings.database_url,
        "BENTOML_HOME": str(settings.state / "bentoml"),
        "BENTOML_CONFIG_OPTIONS": f"services.panthera_prediction.workers={workers}",
        "TMPDIR": str(settings.plan.parent),
    }
    return {**os.environ, **places}


@dataclass(frozen=True)
class Service:
    """`bentoml serve`, and a client of it."""

    process: subprocess.Popen[bytes]
    port: int
    client: httpx.Client

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        return [child for child in psutil.Process(self.process.pid).children() if child.status() != "zombie"]


@contextmanager
def running(settings: Settings, workers: int = 1) -> Iterator[Service]:
    """Run the service for the length of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = settings.plan.with_name("serve.log")
    with log.open("wb") as output, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        process = subprocess.Popen(
            _command(port), cwd=_ROOT, env=_environment(settings, workers), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_live(client, process, log)
            yield Service(process, port, client)
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


def test_bentoml_serves_our_routes_and_sums_what_its_workers_count(bare_world: World) -> None:
    with running(bare_world.settings, workers=2) as service:
        _the_routes_answer(service.client)
        _everybody_is_counted(service)
        _nobody_else_can_command_it(service)
        _a_pickle_does_nothing_anywhere(service, bare_world.settings.plan.parent)
        check_that_none_holds_up(f"http://127.0.0.1:{service.port}")
        _a_key_closes_and_a_revocation_ends_in_every_worker(service, bare_world)
        _a_killed_worker_is_missed_by_nobody(service)
        _the_workers_end_with_their_manager(service)


def _the_routes_answer(client: httpx.Client) -> None:
    not_ready = client.get("/readyz")
    assert not_ready.status_code == 503
    assert_is_problem(not_ready, "unavailable")
    assert "dvc repro" in not_ready.json()["detail"]
    refused = client.post("/v1/predict", json={"entity": {"account_id": 1}})
    assert refused.status_code == 503
    assert "dvc repro" in refused.json()["error"]["message"]
    outcome = {"outcome_id": "o1", "account_id": 1, "observed_at": "2026-03-20T00:00:00Z", "value": 1}
    assert client.post("/v1/outcomes", json={"outcomes": [outcome]}).json() == {"stored": 1, "duplicates": 0}
    assert client.get("/").status_code == 404
    assert client.get("/livez", headers={"host": "evil.example.com"}).status_code == 421


def _everybody_is_counted(service: Service) -> None:
    """Ask on connections of their own, which both workers accept."""
    before = _metric(service, 'panthera_requests_total{route="unknown",status="404"}')
    for number in range(40):
        with httpx.Client() as fresh:
            fresh.get(f"http://127.0.0.1:{service.port}/nothing/{number}")
    time.sleep(0.3)  # a scrape is kept for 0.2 s
    assert _metric(service, 'panthera_requests_total{route="unknown",status="404"}') == before + 40


def _metric(service: Service, series: str) -> float:
    lines = service.client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(series)).rpartition(" ")[2])


#: As another user, sends what Circus takes for an order, and prints which of the sockets took it.
_ORDER = """
import os, pwd, sys, zmq
if os.geteuid() == 0:
    os.setuid(pwd.getpwnam("nobody").pw_uid)
for address in sys.argv[1:]:
    order = zmq.Context.instance().socket(zmq.DEALER)
    order.linger = 0
    order.connect(address)
    order.send_json({"id": "1", "command": "list", "properties": {}})
    if order.poll(700) and b"watchers" in order.recv():
        print(address)
"""


def _nobody_else_can_command_it(service: Service) -> None:
    """Only the port listens, on the loopback interface, and another user's orders reach no process."""
    manager = psutil.Process(service.process.pid)
    processes = [manager, *manager.children(recursive=True)]
    assert len(processes) == 3
    listening = {address for process in processes for address in _listening(process)}
    assert listening == {f"tcp://127.0.0.1:{service.port}"}
    done = subprocess.run([sys.executable, "-c", _ORDER, *listening], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    folder = Path(processes[1].environ()["PROMETHEUS_MULTIPROC_DIR"])
    assert folder.stat().st_mode & 0o777 == 0o700


class _Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def _a_pickle_does_nothing_anywhere(service: Service, folder: Path) -> None:
    """Send a pickle to every route, with every type of content that could have it read, and to the socket itself."""
    planted = folder / "planted"
    harmful = pickle.dumps(_Planted(planted))
    pickle.loads(harmful)  # noqa: S301 - it would do harm
    planted.unlink()
    for route in [*ROUTES, "/", "/predict", "/docs", "/is_ready"]:
        for media_type in (
            "application/vnd.bentoml+pickle",
            "application/octet-stream",
            "multipart/form-data; boundary=x",
        ):
            headers = {"content-type": media_type, "payload-meta": "[]", "yatai-bento-payload-container": "Pickle"}
            connection = HTTPConnection("127.0.0.1", service.port, timeout=30)
            connection.request("POST", route, harmful, headers)
            assert connection.getresponse().status in {404, 405, 415}, route
            connection.close()
    with socket.create_connection(("127.0.0.1", service.port)) as raw:
        raw.sendall(harmful)
        assert raw.recv(2**10).startswith(b"HTTP/1.1 400")
    assert not planted.exists()


def _a_key_closes_and_a_revocation_ends_in_every_worker(service: Service, world: World) -> None:
    assert set(_statuses(service, {})) == {200}
    key, mine, limited = make_key(world, "read"), make_key(world, "read"), make_key(world, "read", rate=0.01)
    _await_statuses(service, {}, 401)
    assert set(_statuses(service, bearer(key))) == {200}
    assert sorted(_statuses(service, bearer(limited))) == [200, *[429] * 19]
    with connect(world.url) as connection:
        revoke_key(connection, key.split("_")[2], Change("ann", "leaked"))
    _await_statuses(service, bearer(key), 401)
    assert key[-64:] not in world.settings.plan.with_name("serve.log").read_text()
    service.client.headers.update(bearer(mine))


def _statuses(service: Service, headers: dict[str, str]) -> list[int]:
    """Ask on connections of their own, which both workers accept."""
    address = f"http://127.0.0.1:{service.port}/openapi.json"
    return [httpx.get(address, headers=headers).status_code for _ in range(20)]


def _await_statuses(service: Service, headers: dict[str, str], status: int) -> None:
    end = time.monotonic() + 5
    while set(found := _statuses(service, headers)) != {status}:
        assert time.monotonic() < end, found


def _listening(process: psutil.Process) -> set[str]:
    """List the addresses on which a process listens: TCP, and unix sockets with a name or without."""
    tcp = {
        f"tcp://{found.laddr.ip}:{found.laddr.port}"
        for found in process.net_connections("inet")
        if found.status == psutil.CONN_LISTEN or found.type == socket.SOCK_DGRAM
    }
    links = [str(file.readlink()) for file in Path(f"/proc/{process.pid}/fd").iterdir()]
    own = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    accepting = {f"ipc://{''.join(line[7:])}" for line in lines if line[6] in own and int(line[3], 16) & 0x10000}
    return tcp | accepting


def _a_killed_worker_is_missed_by_nobody(service: Service) -> None:
    """Kill a worker while it answers: the other one answers, another one comes, and the gauge forgets its requests."""
    halves = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(20)]
    head = (
        b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
    )
    for half in halves:
        half.sendall(head)
    killed = max(service.workers, key=lambda worker: len(worker.net_connections("tcp")))
    killed.kill()
    killed.wait(10)
    answers = [httpx.get(f"http://127.0.0.1:{service.port}/livez", timeout=10).status_code for _ in range(20)]
    assert answers == [200] * 20
    end = time.monotonic() + 3
    while len(service.workers) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(service.workers) == 2
    for half in halves:
        half.close()
    time.sleep(0.3)
    assert _metric(service, "panthera_requests_in_progress ") == 0


def _the_workers_end_with_their_manager(service: Service) -> None:
    workers = service.workers
    service.process.kill()
    gone, alive = psutil.wait_procs(workers, timeout=15)
    assert (len(gone), alive) == (2, [])
    with socket.create_server(("127.0.0.1", service.port)):  # the port is free
        pass


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
