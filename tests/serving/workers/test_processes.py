"""The processes of the service, as far as they can be tried without starting it; `test_bentoml.py` starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from core.errors import PantheraError
from serving.workers.processes import cores, manage_privately, metrics_folder
from serving.workers.worker_metrics import scrape

ROOT = Path(__file__).parents[3]


def test_a_manager_that_is_made_in_another_way_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bentoml._internal.utils.circus", ModuleType("elsewhere"))
    with pytest.raises(PantheraError, match="every local user; install the version"):
        manage_privately()


def test_a_worker_of_a_manager_that_was_not_replaced_does_not_serve(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with pytest.raises(PantheraError, match="a worker was started by a manager that was not replaced"):
        metrics_folder()


@pytest.mark.parametrize(
    ("quota", "found"), [("100000 100000\n", 1), ("150000 100000\n", 1), ("50000 100000\n", 1), ("max 100000\n", None)]
)
def test_a_quota_of_a_container_is_minded(tmp_path: Path, quota: str, found: int | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert cores(file) == (found or len(os.sched_getaffinity(0)))
    assert cores(tmp_path / "none") == len(os.sched_getaffinity(0))


_CHILD = """
import os, sys, time
from serving.workers.processes import end_with_parent
end_with_parent(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""
_PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_CHILD!r}])"


def test_a_child_ends_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    with parent.stdout as told:
        assert int(told.readline()) > 0
        parent.kill()
        parent.wait()
        assert told.read() == ""  # the child's end closes it


_WORKER = """
import sys
from pathlib import Path
from serving.workers.worker_metrics import join_workers
join_workers(Path({folder!r}), {worker})
from serving.metrics import Meters
meters = Meters()
meters.request("/v1/predict", 200, 0.002)
answering = meters.in_progress()
answering.__enter__()
print("ready", flush=True)
sys.stdin.read()
"""


def _worker(folder: Path, number: int) -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER.format(folder=str(folder), worker=number)],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout
    assert worker.stdout.readline() == "ready\n"
    return worker


def test_a_killed_worker_leaves_its_counts_and_takes_its_gauges_and_a_successor_continues(tmp_path: Path) -> None:
    def found() -> tuple[str, str]:
        lines = scrape(tmp_path).decode().splitlines()
        counts = {line.partition(" ")[0].partition("{")[0]: line.rpartition(" ")[2] for line in lines}
        return counts["panthera_requests_total"], counts.get("panthera_requests_in_progress", "0.0")

    workers = [_worker(tmp_path, number) for number in (1, 2)]
    assert found() == ("2.0", "2.0")
    workers[0].kill()
    workers[0].communicate()
    assert found() == ("2.0", "1.0")
    files = sorted(tmp_path.glob("*.db"))
    workers[0] = _worker(tmp_path, 1)
    assert found() == ("3.0", "2.0")
    assert sorted(tmp_path.glob("*.db")) == files
    for worker in workers:
        worker.communicate("")
