"""Soak the running service under load and faults; the last line is one JSON object.

Run it as `make soak-serving`, for half an hour, or with `MINUTES=480` for longer. Beside open-loop load at a fixed rate, faults
come in turn: a worker is killed, the database is killed, another release is promoted and the first one again, and slow senders
hold connections. Every prediction that was answered must be in the log exactly once.

- `lost`, `doubled`: predictions that were answered and are not in the log, or twice. Wanted: 0.
- `unacknowledged`: rows of the log whose response was not received; those of broken connections and of deadlines may be there.
- `answered`, `failed`: requests with status 200, and the others by status; 0 is a broken connection.
- `faults`: how often each fault came, and `longest_recovery_seconds` from a kill of the database to the next answer.
- `memory_mb`, `descriptors`, `connections`: of all workers, after the warm-up and at the end; and of the database's clients.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import psycopg

from benchmarks import small_release
from benchmarks.processes import SECONDS_TO_START, settings_environment
from benchmarks.serving.load import Target, figures_of, start_load
from core.postgres.database import connect, migrate
from core.postgres.server import EmbeddedServer
from core.settings import Settings, silence_telemetry
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create
from models.releases import ledger
from models.releases.ledger import Act
from panthera.service.process import answering, bentoml_command, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ACCOUNTS, _CONNECTIONS, _SLOW_SENDERS = 10_000, 32, 50
#: A part of the run, after which the answers are compared with the log; the generator keeps the ids of one part.
_SECONDS_OF_PART = 60.0
_SECONDS_BETWEEN_FAULTS = 5.0
_SECONDS_TO_RECOVER = 30.0
_WORKER = "_bentoml_impl.worker.service"
_ACT = Act("promote", "soak", "soak")


@dataclass
class Soak:
    """A running service, its database, and what was counted."""

    settings: Settings
    server: EmbeddedServer
    address: str
    folder: Path
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0

    @property
    def url(self) -> str:
        """The URL of the database."""
        return self.settings.database_url or ""

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes of this service."""
        return [process for process in psutil.process_iter() if self._is_worker(process)]

    def _is_worker(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            state = process.environ().get("PANTHERA_STATE") if _WORKER in process.cmdline() else None
            return state == str(self.settings.state)
        return False

    def usage(self) -> dict[str, Any]:
        """Return memory and descriptors of the workers, and the connections of the database."""
        workers = self.workers()
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            ).fetchone()
        return {
            "memory_mb": round(sum(worker.memory_info().rss for worker in workers) / 1e6, 1),
            "descriptors": sum(worker.num_fds() for worker in workers),
            "connections": row[0] if row else None,
            "workers": len(workers),
        }


def kill_worker(soak: Soak) -> None:
    """Kill one of the workers."""
    with suppress(psutil.NoSuchProcess):
        random.choice(soak.workers()).kill()  # noqa: S311


def kill_database(soak: Soak) -> None:
    """Kill the database server, start it again, and wait for the next answer."""
    postmaster = next(soak.server.state.rglob("postmaster.pid"))
    process = psutil.Process(int(postmaster.read_text().splitlines()[0]))
    children = process.children()
    process.kill()
    psutil.wait_procs([process, *children], timeout=10)
    began = time.monotonic()
    soak.server.start()
    while time.monotonic() < began + _SECONDS_TO_RECOVER:
        with suppress(httpx.TransportError):
            if httpx.post(f"{soak.address}/v1/predict", json={"entity": {"account_id": 1}}, timeout=5).is_success:
                break
        time.sleep(0.05)
    soak.recoveries.append(round(time.monotonic() - began, 2))


def promote(soak: Soak) -> None:
    """Promote the release that is not the champion."""
    with connect(soak.url) as connection:
        champion = ledger.current(connection, "churn", "champion")
        other = "second" if champion and champion.release_id == "first" else "first"
        ledger.appoint(connection, "churn", "champion", other, _ACT)


def send_slowly(soak: Soak) -> None:
    """Open connections that never send their whole request; the service must close them."""
    port = int(soak.address.rpartition(":")[2])
    head = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n"
    halves = []
    for number in range(_SLOW_SENDERS):
        with suppress(OSError):
            half = socket.create_connection(("127.0.0.1", port), timeout=1)
            half.sendall(head if number % 2 else head + b'\r\n{"entity"')
            halves.append(half)
    time.sleep(_SECONDS_BETWEEN_FAULTS)
    for half in halves:
        half.close()


FAULTS: dict[str, Callable[[Soak], None]] = {
    "promotions": promote,
    "worker_kills": kill_worker,
    "slow_senders": send_slowly,
    "database_kills": kill_database,
}


@contextmanager
def running() -> Iterator[Soak]:
    """Start a database with two releases, and the service with two workers."""
    with TemporaryDirectory(prefix="panthera-soak-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        folder.chmod(0o755)
        server = EmbeddedServer(folder / "server")
        server.start()
        stack.callback(server.stop)
        migrate(server.url)
        settings = Settings(folder / "params.yaml", folder / "state", server.url, None)
        settings.plan.write_text(small_release.TEXT.replace("challenger: 1", "challenger: 0"), encoding="utf-8")
        _fill(settings, _ACCOUNTS)
        port = free_port()
        environment = {
            **settings_environment(settings),
            "BENTOML_CONFIG_OPTIONS": "services.panthera_prediction.workers=2",
        }
        command = bentoml_command("serving.service:PredictionService", port)
        log = folder / "log"
        address = stack.enter_context(answering(command, port, environment, log, seconds_to_start=SECONDS_TO_START))
        yield Soak(settings, server, address, folder)


def _fill(settings: Settings, accounts: int) -> None:
    """Register two releases with different thresholds of orders, and write the accounts' rows."""
    releases = [small_release.enter(settings, name, cut=cut) for name, cut in (("first", 10), ("second", 20))]
    with connect(settings.database_url or "") as connection:
        ledger.appoint(connection, releases[0].model, "champion", "first", _ACT)
        create(connection, OnlineTable(small_release.TABLE, (("account_id", "int64"),), (("orders", "int64"),)))
        connection.execute(
            f"INSERT INTO online.{small_release.TABLE} SELECT n, now(), now(), n %% 40 FROM generate_series(1, %s) AS n",
            [accounts],
        )
        connection.execute(
            "INSERT INTO panthera.materialization VALUES (gen_random_uuid(), 'history', %s, now(), %s)",
            [small_release.TABLE, accounts],
        )


def run(soak: Soak, minutes: float, rate: float) -> dict[str, Any]:
    """Run the load and the faults; return the figures."""
    bodies = soak.folder / "bodies.jsonl"
    bodies.write_text(
        "\n".join(json.dumps({"entity": {"account_id": number}}) for number in range(1, _ACCOUNTS + 1)),
        encoding="utf-8",
    )
    target, faults = Target(f"{soak.address}/v1/predict", bodies), cycle(FAULTS)
    _part(soak, target, rate, cycle(["promotions"]), min(_SECONDS_OF_PART, 15 * minutes))
    after_warm_up, end = soak.usage(), time.monotonic() + 60 * minutes
    while (left := end - time.monotonic()) > 1:
        _part(soak, target, rate, faults, min(_SECONDS_OF_PART, left))
    return {
        "minutes": minutes,
        "rate": rate,
        "answered": soak.statuses.pop("200", 0),
        "failed": dict(soak.statuses),
        "lost": soak.lost,
        "doubled": soak.doubled,
        "unacknowledged": _unacknowledged(soak),
        "faults": dict(soak.faults),
        "longest_recovery_seconds": max(soak.recoveries, default=None),
        "after_warm_up": after_warm_up,
        "at_the_end": _settled_usage(soak),
        "load_average": os.getloadavg()[2],
    }


def _part(soak: Soak, target: Target, rate: float, faults: Iterator[str], seconds: float) -> None:
    """Run load for some seconds with a fault from time to time, then compare the answers with the log."""
    ids, end = soak.folder / "ids", time.monotonic() + seconds
    load = start_load(target, _CONNECTIONS, seconds, rate, ids)
    while time.monotonic() < end - _SECONDS_BETWEEN_FAULTS:
        time.sleep(_SECONDS_BETWEEN_FAULTS)
        fault = next(faults)
        FAULTS[fault](soak)
        soak.faults[fault] += 1
    figures = figures_of(load)
    soak.statuses.update(figures["statuses"])
    print({"faults": dict(soak.faults), **figures}, flush=True)
    acknowledged = ids.read_text(encoding="utf-8").split()
    (soak.folder / "acknowledged").open("a", encoding="utf-8").write("".join(f"{each}\n" for each in acknowledged))
    soak.doubled += len(acknowledged) - len({*acknowledged})
    soak.lost += len({*acknowledged}) - _stored(soak, acknowledged)


def _stored(soak: Soak, ids: list[str]) -> int:
    with psycopg.connect(soak.url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM panthera.prediction WHERE prediction_id = ANY(%s::uuid[])", [ids]
        ).fetchone()
    return int(row[0]) if row else 0


def _unacknowledged(soak: Soak) -> int:
    with psycopg.connect(soak.url) as connection:
        row = connection.execute("SELECT count(*) FROM panthera.prediction").fetchone()
    return (int(row[0]) if row else 0) - len((soak.folder / "acknowledged").read_text(encoding="utf-8").split())


def _settled_usage(soak: Soak) -> dict[str, Any]:
    """Return the usage after the connections of the load are closed."""
    time.sleep(_SECONDS_BETWEEN_FAULTS)
    return soak.usage()


def main() -> None:
    """Read the arguments, run, and print the figures."""
    parser = argparse.ArgumentParser(description="Run the service under load and faults.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=200, help="requests per second")
    arguments = parser.parse_args()
    silence_telemetry()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running() as soak:
        print(json.dumps(run(soak, arguments.minutes, arguments.rate)))


if __name__ == "__main__":
    main()
