"""Measure the processor seconds of `dvc repro` for a small plan: 7,000 rows of 20 columns, three candidates.

Run it as `make bench-repro`. A first run, which is not counted, starts the database and fills Python's bytecode cache. Then
each stage runs alone, and `dvc repro --force` runs all of them.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    import resource
    from collections.abc import Iterator

ROWS, NUMBERS = 7_000, 16
PROGRAMS = Path(sys.executable).parent
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of Linux
SEEN = datetime(2021, 1, 1, tzinfo=UTC)
#: The text columns and their levels.
LEVELS = {"contract": ("month", "year", "two years"), "payment": ("card", "transfer", "check", "debit")}
PLAN = """
project: {name: small, problem: binary, statement: "Who will leave within 30 days?"}
entities: {customer: {key: customer_id, dtype: string, source: customers}}
ingest:
  customers:
    reader: {kind: csv, path: customers.csv}
    entity: customer
    event_time: {column: seen}
    observed_until: "2021-03-01"
    columns: {customer_id: {dtype: string}, seen: {dtype: date}, contract: {dtype: string}, payment: {dtype: string}}
  exits:
    reader: {kind: csv, path: exits.csv}
    entity: customer
    event_time: {column: left_on}
    observed_until: "2021-03-01"
    columns: {customer_id: {dtype: string}, left_on: {dtype: date}, reason: {dtype: string}}
label: {source: exits, horizon: 30d, population: "true", value: count(*) > 0}
build_features:
  snapshots: {start: "2021-01-02", end: "2021-01-02"}
  views: {profile: {source: customers, ttl: 400d, every: 1 month, features: {}}}
  services: {all: ["profile.*"]}
training_set:
  service: all
  as_of: {start: "2021-01-02", end: "2021-01-02", every: 1 month}
  split: {kind: stratified}
train:
  seed: 1
  candidates:
    base: {estimator: majority}
    logistic:
      estimator: logistic_regression
      numeric: [{step: impute_median}, {step: standard_scale}]
      categorical: [{step: one_hot}]
    trees: {estimator: lightgbm, rounds: 100, early_stopping: 10}
evaluate: {primary: log_loss, metrics: [log_loss, roc_auc], threshold: {at: 0.5}, baseline: base}
register: {model: small}
materialize: {as_of: "2021-01-02"}
serve: {missing: answer_and_flag, stale: answer_and_flag, experiment: one, salt: one, arms: {champion: 1}, decisions: {above: call, below: wait}}
monitor: {psi_alarm: 0.1, parity_sample: 1}
"""  # noqa: E501


def plan() -> str:
    """Compose the plan, with a feature for each column."""
    content = yaml.safe_load(PLAN)
    columns = content["ingest"]["customers"]["columns"]
    columns |= {f"n_{number}": {"dtype": "float64"} for number in range(NUMBERS)}
    content["build_features"]["views"]["profile"]["features"] = {
        name: {"sql": f"arg_max({name}, event_time)", "dtype": column["dtype"], "meaning": name}
        for name, column in columns.items()
        if name not in {"customer_id", "seen"}
    }
    return yaml.safe_dump(content, sort_keys=False)


def write_data(folder: Path, rows: int = ROWS) -> None:
    """Write customers with 20 columns, and the exits of some of them, which are more likely if `n_0` is positive."""
    rng = random.Random(7)  # noqa: S311 - no secret
    customers = [",".join(["customer_id", "seen", *LEVELS, *(f"n_{number}" for number in range(NUMBERS))])]
    exits = ["customer_id,left_on,reason"]
    for number in range(rows):
        values = [round(rng.gauss(0, 1), 4) for _ in range(NUMBERS)]
        levels = [rng.choice(choices) for choices in LEVELS.values()]
        customers.append(",".join([f"c{number:05d}", f"{SEEN:%Y-%m-%d}", *levels, *map(str, values)]))
        if rng.random() < 0.15 + 0.15 * (values[0] > 0) + 0.2 * (levels[0] == "month"):
            exits.append(f"c{number:05d},{SEEN + timedelta(days=rng.randint(2, 25)):%Y-%m-%d},price")
    (folder / "customers.csv").write_text("\n".join(customers) + "\n")
    (folder / "exits.csv").write_text("\n".join(exits) + "\n")


def cpu_seconds(command: list[str], project: Path) -> float:
    """Run `command` in the project's folder; return the processor seconds of it, its finished children and their server."""
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{shlex.join(command)} failed in {project}")
    return round(sum(each.ru_utime + each.ru_stime for each in (usage, *_left_behind())), 2)


def _left_behind() -> Iterator[resource.struct_rusage]:
    """Yield the usage of the server of the stages, which this process adopts; wait for its end, a moment after DVC's."""
    for child in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if not command or b"core.launch" in command:  # it has ended, or is about to
            yield os.wait4(child, 0)[2]


def main() -> None:
    """Measure the stages and the whole run, and print the results."""
    ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1)
    with TemporaryDirectory() as folder:
        project, plan_file = Path(folder) / "small", Path(folder) / "plan.yaml"
        plan_file.write_text(plan())
        subprocess.run([PROGRAMS / "panthera", "project", plan_file, project], check=True, stdout=sys.stderr)
        write_data(project)
        repro = [str(PROGRAMS / "dvc"), "repro"]
        try:
            cpu_seconds(repro, project)
            stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
            by_stage = {name: cpu_seconds(shlex.split(stage["cmd"]), project) for name, stage in stages.items()}
            total = cpu_seconds([*repro, "--force"], project)
        finally:
            subprocess.run([PROGRAMS / "panthera", "down"], cwd=project, check=False, stdout=sys.stderr)
    print(json.dumps({"rows": ROWS, "columns": NUMBERS + 4, "cpu_seconds": total, "cpu_seconds_by_stage": by_stage}))


if __name__ == "__main__":
    main()
