"""Measure views of very many features: building each, and applying, training, evaluating and materializing the widest.

Run as `python -m benchmarks.feature_store.wide_views`; it prints one JSON object. Each stage runs in its own process, as in
`dvc repro`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

WIDTHS = (200, 400, 1_000)
CUSTOMERS = 60
PANTHERA = Path(sys.executable).with_name("panthera")
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 12, 24, tzinfo=UTC)
STAGES = {
    "ingest": "feature_repo.ingest --raw data/raw",
    "validate": "feature_repo.validate --raw data/raw --accepted data/accepted --rejected data/rejected",
    "build": "feature_repo.build_features --accepted data/accepted --features data/features",
    "apply": "feature_repo.apply --features data/features --receipt data/apply.json",
    "materialize": "feature_repo.materialize --features data/features --applied data/apply.json "
    "--receipt data/materialize.json",
    "training_set": "models.training_set --accepted data/accepted --applied data/apply.json --out data/training_set.parquet",
    "train": "models.train --training-set data/training_set.parquet --out data/candidates",
    "evaluate": "models.evaluate --training-set data/training_set.parquet --candidates data/candidates "
    "--evaluation data/evaluation.json --findings data/findings.json --metrics data/metrics.json --plots data/plots "
    "--report reports/evaluation.html",
}
PLAN = """
project: {name: wide, problem: binary, statement: "Who will not buy within 30 days?"}
entities: {customer: {key: customer_id, dtype: int64, source: orders}}
ingest:
  orders:
    reader: {kind: csv, path: orders.csv}
    entity: customer
    event_time: {column: bought}
    observed_until: "2024-12-27"
    columns: {customer_id: {dtype: int64}, bought: {dtype: timestamp}, amount: {dtype: float64, unit: EUR}}
validate: {orders: {not_null: [amount]}}
label: {source: orders, horizon: 30d, population: count(*) >= 1, value: count(*) = 0}
build_features:
  snapshots: {start: "2024-03-01", end: "2024-11-15"}
  views: {}
  services: {all: ["wide.*"]}
training_set:
  service: all
  as_of: {start: "2024-03-01", end: "2024-11-15", every: 1 week}
  split: {kind: temporal, validation_from: "2024-07-19", test_from: "2024-09-20", gap: 30d}
train:
  seed: 1
  candidates:
    one: {estimator: single_feature, feature: wide.f_1}
    logistic: {estimator: logistic_regression}
evaluate: {primary: log_loss, metrics: [log_loss], threshold: {maximise: f1}, baseline: one}
register: {model: wide}
materialize: {as_of: "2024-11-15"}
serve: {missing: answer_and_flag, stale: answer_and_flag, experiment: one, salt: one, arms: {champion: 1, challenger: 1}, decisions: {above: call, below: wait}}
monitor: {psi_alarm: 0.1, parity_sample: 1}
"""  # noqa: E501


@dataclass(frozen=True)
class Cost:
    """The wall time and the peak memory of a stage."""

    seconds: float
    peak_mb: float


def plan(features: int) -> str:
    """Compose a plan with one view of `features` sums."""
    content = yaml.safe_load(PLAN)
    sums = {f"f_{number}": f"sum(amount) * {number} / 7" for number in range(features)}
    declared = {name: {"sql": sql, "dtype": "float64", "unit": "EUR"} for name, sql in sums.items()}
    content["build_features"]["views"]["wide"] = {
        "source": "orders",
        "ttl": "35d",
        "every": "1 week",
        "features": declared,
    }
    return yaml.safe_dump(content, sort_keys=False)


def orders() -> str:
    """Compose a CSV of `CUSTOMERS` customers' orders in a year."""
    rows: list[tuple[datetime, int, float]] = []
    for customer in range(CUSTOMERS):
        rng = random.Random(customer)  # noqa: S311 - no secret
        bought = START + timedelta(days=60 * rng.random())
        while bought < END:
            rows.append((bought, customer, round(rng.uniform(5, 80), 2)))
            bought += timedelta(days=rng.expovariate(rng.choice([0.01, 0.03, 0.08])))
    lines = [f"{customer},{bought:%Y-%m-%dT%H:%M:%SZ},{amount}" for bought, customer, amount in sorted(rows)]
    return "\n".join(["customer_id,bought,amount", *lines]) + "\n"


def run_stage(project: Path, stage: str) -> Cost:
    """Run a stage in a project's folder; return its cost."""
    began = time.perf_counter()
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", *STAGES[stage].split()], cwd=project, env=environment, stdout=sys.stderr
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the stage {stage} failed in {project}")
    return Cost(round(time.perf_counter() - began, 1), round(usage.ru_maxrss / 1024, 1))


def measure(folder: Path, features: int, stages: list[str]) -> dict[str, Cost]:
    """Write a project with `features` features, and run its `stages`; return their costs."""
    project, text = folder / str(features), folder / f"{features}.yaml"
    text.write_text(plan(features))
    subprocess.run([PANTHERA, "project", text, project], check=True, stdout=sys.stderr)
    (project / "orders.csv").write_text(orders())
    return {stage: run_stage(project, stage) for stage in stages}


def main() -> None:
    """Measure all widths, and print the results."""
    with TemporaryDirectory() as folder:
        *narrow, widest = WIDTHS
        costs = {width: measure(Path(folder), width, ["ingest", "validate", "build"]) for width in narrow}
        costs[widest] = measure(Path(folder), widest, list(STAGES))
        subprocess.run([PANTHERA, "down"], cwd=Path(folder) / str(widest), check=False, stdout=sys.stderr)
        measures: dict[str, object] = {f"build_seconds_{width}": costs[width]["build"].seconds for width in WIDTHS}
        measures["ratio_1000_vs_200"] = round(costs[1_000]["build"].seconds / costs[200]["build"].seconds, 2)
        for stage in ("apply", "materialize", "training_set", "train", "evaluate"):
            measures[f"{stage}_seconds"] = costs[widest][stage].seconds
        measures["peak_mb"] = {stage: cost.peak_mb for stage, cost in costs[widest].items()}
        measures["report_kb"] = round((Path(folder) / str(widest) / "reports/evaluation.html").stat().st_size / 1024)
    print(json.dumps(measures))


if __name__ == "__main__":
    main()
