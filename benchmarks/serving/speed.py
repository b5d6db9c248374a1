"""Compare our service with the stock way on the same data, model and machine, in one run; the last line is one JSON object.

Run it as `make bench-serving`, or with `--rounds 1 --customers 2000` for a quick look. Each service has one worker. All of them
run at the same time, and take turns under load, so that variations of the machine's speed affect all alike; each figure is a
median over the rounds. Scores are compared before any timing.

- `throughput_ratio`: predictions per second of ours and of the stock service, one entity a request, 64 connections.
- `latency_ratio_c1`: median latency of ours and of stock, one connection.
- `p99_ms`: of ours, under open-loop load at half of its capacity.
- `entities_100_ratio`: requests per second of ours and of stock, 100 entities a request.
- `bare_uvicorn_share`: predictions per second of ours and of the same application under uvicorn alone.
- `auth_cost`: predictions per second without and with API keys.
- `shadow_p99_change`: change of the p99 by `panthera shadow --follow` beside the service.
- `log_committed`: whether every prediction that was answered is in the log, whose commits are synchronous, and is there when
  its response arrives.
- `batch_entities_per_second`: by `make bench-score`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg

from benchmarks.feature_store.online import KEY
from benchmarks.processes import SECONDS_TO_START, settings_environment, uvicorn_command
from benchmarks.scratch_server import scratch_server
from benchmarks.serving.load import Target, figures_of, start_load
from benchmarks.serving.world import RELEASE, prepare
from core.access.key_table import Change, KeyTerms, create_key
from core.postgres.database import connect
from core.settings import Settings, silence_telemetry
from panthera.service.process import answering, bentoml_command, free_port, running

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.serving.world import StockFiles

_CONNECTIONS, _LARGE, _LARGE_CONNECTIONS = 64, 100, 8
_SECONDS, _WARM_SECONDS = 4.0, 2.0
_COMPARED, _CHECKED = 100, 50
_OURS = "serving.service:PredictionService"
#: One worker, as the stock service has; a deadline that a busy machine keeps, since a refusal would stop the benchmark.
_OPTIONS = {"BENTOML_CONFIG_OPTIONS": "services.panthera_prediction.workers=1", "PANTHERA_DEADLINE_MS": "60000"}


@dataclass(frozen=True)
class Requests:
    """Files with request bodies, one a line: of one entity and of a hundred, for ours and for stock."""

    one: Path
    many: Path
    stock_one: Path
    stock_many: Path


def write_requests(folder: Path, customers: int) -> Requests:
    """Write the bodies; every service gets the same customers in the same order."""
    rng = random.Random(5)  # noqa: S311
    batches = {"one": 1, "many": _LARGE}
    found = {}
    for name, size in batches.items():
        keys = [[rng.randrange(customers) for _ in range(size)] for _ in range(2_000 // size)]
        ours = [json.dumps(_body(chosen)) for chosen in keys]
        stock = [json.dumps({"customer_ids": chosen}) for chosen in keys]
        for prefix, lines in (("", ours), ("stock_", stock)):
            found[prefix + name] = folder / f"{prefix}{name}.jsonl"
            found[prefix + name].write_text("\n".join(lines), encoding="utf-8")
    return Requests(**found)


def _body(customers: Sequence[int]) -> dict[str, Any]:
    return {"entities": [{KEY: customer} for customer in customers]}


@dataclass(frozen=True)
class Services:
    """The addresses of the running services; `keyed` is ours with API keys, and needs `key`."""

    stock: str
    ours: str
    bare: str
    keyed: str
    key: str

    def target(self, name: str, requests: Requests, *, many: bool = False) -> Target:
        """Return the target of a service."""
        if name == "stock":
            return Target(f"{self.stock}/predict", requests.stock_many if many else requests.stock_one)
        headers = (f"authorization: Bearer {self.key}",) if name == "keyed" else ()
        address = {"ours": self.ours, "bare": self.bare, "keyed": self.keyed}[name]
        return Target(f"{address}/v1/predict", requests.many if many else requests.one, headers)


def start_services(stack: ExitStack, settings: Settings, files: StockFiles, folder: Path) -> Services:
    """Start all services; the one with keys has a copy of the database."""
    keyed = replace(settings, database_url=_copy_database(settings.database_url or "", "keyed"))
    with connect(keyed.database_url or "") as connection:
        key = create_key(connection, KeyTerms(("predict",), "benchmark"), Change("benchmark", "benchmark")).text
    stock = {
        "STOCK_REPOSITORY": str(files.repository),
        "STOCK_MODEL": str(files.model),
        "STOCK_LEVELS": str(files.levels),
        "BENTOML_HOME": str(folder / "stock-bentoml"),
    }

    def start(
        name: str, command: Callable[[int], list[str]], environment: dict[str, str], ready: str = "/readyz"
    ) -> str:
        port = free_port()
        log = folder / f"{name}.log"
        return stack.enter_context(answering(command(port), port, environment, log, ready, SECONDS_TO_START))

    def bentoml(target: str) -> Callable[[int], list[str]]:
        return lambda port: bentoml_command(target, port)

    return Services(
        start("stock", bentoml("benchmarks.serving.stock_service:StockService"), stock),
        start("ours", bentoml(_OURS), {**settings_environment(settings), **_OPTIONS}),
        start("bare", uvicorn_command, {**settings_environment(settings), **_OPTIONS}),
        start("keyed", bentoml(_OURS), {**settings_environment(keyed), **_OPTIONS}),
        key,
    )


def _copy_database(url: str, name: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        source = urlsplit(url).path.removeprefix("/")
        other = urlunsplit(urlsplit(url)._replace(path="/template1"))
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {source}".encode())
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def compare_scores(services: Services, customers: int) -> None:
    """Stop unless both services return the same scores."""
    keys = [number * (customers // _COMPARED) for number in range(_COMPARED)]
    ours = httpx.post(f"{services.ours}/v1/predict", json=_body(keys), timeout=30).json()["predictions"]
    stock = httpx.post(f"{services.stock}/predict", json={"customer_ids": keys}, timeout=30).json()
    if any(abs(entry["score"] - score) > 1e-12 for entry, score in zip(ours, stock, strict=True)):  # noqa: PLR2004
        raise SystemExit("the two services return different scores")


def closed(target: Target, connections: int, seconds: float = _SECONDS) -> dict[str, Any]:
    """Return the figures of a closed-loop run; any status but 200 stops the benchmark."""
    return _checked(figures_of(start_load(target, connections, seconds)), target)


def _checked(figures: dict[str, Any], target: Target) -> dict[str, Any]:
    if set(figures["statuses"]) != {"200"}:
        raise SystemExit(f"{target.url} was answered with the statuses {figures['statuses']}")
    return figures


@dataclass
class Rounds:
    """The figures of all rounds, by the name of the measure and of the service."""

    figures: dict[tuple[str, str], list[dict[str, Any]]]

    def median(self, measure: str, name: str, figure: str = "rate") -> float:
        """Return the median of a figure over the rounds."""
        return float(statistics.median(each[figure] for each in self.figures[measure, name]))


def measure_rounds(services: Services, requests: Requests, rounds: int) -> Rounds:
    """Measure each service in turn, `rounds` times."""
    measures = {
        "c64": (("stock", "ours", "bare", "keyed"), _CONNECTIONS, False),
        "c1": (("stock", "ours"), 1, False),
        "many": (("stock", "ours"), _LARGE_CONNECTIONS, True),
    }
    for name in measures["c64"][0]:
        for many in (False, True):
            closed(services.target(name, requests, many=many), _LARGE_CONNECTIONS, _WARM_SECONDS)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for measure, (names, connections, many) in measures.items():
            for name in names:
                figures = closed(services.target(name, requests, many=many), connections)
                print(measure, name, figures, flush=True)
                found.setdefault((measure, name), []).append(figures)
    return Rounds(found)


def open_loop_p99(target: Target, rate: float) -> float:
    """Return the p99 in milliseconds under open-loop load."""
    figures = _checked(figures_of(start_load(target, 2 * _CONNECTIONS, _SECONDS, rate)), target)
    print("open loop", f"{rate:.0f}", figures, flush=True)
    return float(figures["p99_ms"])


def measure_open(target: Target, rate: float, rounds: int, settings: Settings, folder: Path) -> dict[str, float]:
    """Return the p99 under open-loop load, and its change by a shadow scorer beside the service."""
    alone, beside = [], []
    command = [sys.executable, "-m", "panthera.cli", "shadow", "--follow", f"--release={RELEASE}"]
    for _ in range(rounds):
        alone.append(open_loop_p99(target, rate))
        with running(command, settings_environment(settings), folder / "shadow.log") as shadow:
            open_loop_p99(target, rate)  # its start costs processor time once
            beside.append(open_loop_p99(target, rate))
            if shadow.poll() is not None:
                raise SystemExit(f"the shadow scorer ended: {(folder / 'shadow.log').read_text()[-2000:]}")
    p99 = statistics.median(alone)
    return {"p99_ms": round(p99, 2), "shadow_p99_change": round(statistics.median(beside) / p99 - 1, 3)}


def is_committed(services: Services, requests: Requests, settings: Settings) -> bool:
    """Return whether every answered prediction is in the log, at the latest when its response arrives."""
    with psycopg.connect(settings.database_url or "", autocommit=True) as connection:
        switches = [_one(connection, f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
        before = _count(connection)
        for customer in range(_CHECKED):
            response = httpx.post(f"{services.ours}/v1/predict", json=_body([customer]))
            logged = _one(
                connection,
                "SELECT count(*) FROM panthera.prediction WHERE prediction_id = %s",
                response.json()["predictions"][0]["prediction_id"],
            )
            if logged != 1:
                return False
        answered = closed(services.target("ours", requests), _CONNECTIONS, _WARM_SECONDS)["statuses"]["200"]
        return switches == ["on", "on"] and _count(connection) == before + _CHECKED + answered


def _one(connection: psycopg.Connection, statement: str, *parameters: object) -> Any:
    row = connection.execute(statement.encode(), parameters or None).fetchone()
    return row[0] if row else None


def _count(connection: psycopg.Connection) -> int:
    return int(_one(connection, "SELECT count(*) FROM panthera.prediction"))


def batch_rate(entities: int) -> float:
    """Return the entities per second of `panthera score`."""
    command = [sys.executable, "-m", "benchmarks.serving.score", f"--entities={entities}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print("score", done.stdout.splitlines()[-1], flush=True)
    return float(json.loads(done.stdout.splitlines()[-1])["entities_per_second"])


def measure(settings: Settings, folder: Path, customers: int, rounds: int) -> dict[str, Any]:
    """Return all figures but those of batches."""
    files, requests = prepare(settings, folder, customers), write_requests(folder, customers)
    with ExitStack() as stack:
        services = start_services(stack, settings, files, folder)
        compare_scores(services, customers)
        found = measure_rounds(services, requests, rounds)
        capacity = found.median("c64", "ours")
        return {
            "throughput_ratio": round(capacity / found.median("c64", "stock"), 1),
            "latency_ratio_c1": round(found.median("c1", "ours", "p50_ms") / found.median("c1", "stock", "p50_ms"), 3),
            "entities_100_ratio": round(found.median("many", "ours") / found.median("many", "stock"), 1),
            "bare_uvicorn_share": round(capacity / found.median("c64", "bare"), 3),
            "auth_cost": round(capacity / found.median("c64", "keyed"), 3),
            **measure_open(services.target("ours", requests), capacity / 2, rounds, settings, folder),
            "log_committed": is_committed(services, requests, settings),
            "requests_per_second": capacity,
            "p50_ms_c1": found.median("c1", "ours", "p50_ms"),
            "load_average": os.getloadavg()[2],
        }


def main() -> None:
    """Read the arguments, measure, and print the figures."""
    parser = argparse.ArgumentParser(description="Measure the service beside the stock way.")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--entities", type=int, default=400_000, help="entities of the batch; 0 leaves it out")
    arguments = parser.parse_args()
    silence_telemetry()
    with scratch_server("panthera-serving-") as (url, folder):
        settings = Settings(folder / "params.yaml", folder / "state", url, None)
        figures = measure(settings, folder, arguments.customers, arguments.rounds)
    if arguments.entities:
        figures["batch_entities_per_second"] = batch_rate(arguments.entities)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
