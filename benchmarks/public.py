"""Run the plans of `worlds/public` on the data sets that packages ship, and compare them with a reference on the same split.

Run it as `make bench-public`, or with `PLANS="credit jobs"` for some. For each plan: write the files, `dvc repro`, serve
predictions over HTTP, and recompute what was served (`panthera parity`). The reference is scikit-learn's
HistGradientBoosting with its defaults, fitted on the features of the same training rows; free text becomes 30 components of its
TF-IDF. `with_validation` is that of the same reference fitted on the validation rows too, which a plan uses to choose only.

`--in-process` runs the stages in this process, without DVC, and asks the application without a server: a fraction of the time.
The last line is a JSON object. `regret` is how much better the reference's metric is, with the paired
interval of the difference (none for fewer than 30 entities); below 0 ours is better.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from importlib import import_module
from math import isnan
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.public_reference import reference_rows
from benchmarks.stages import run_stages
from core.plan.file import read_plan
from core.settings import read_settings
from models.candidates.candidates import read_candidate
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, VALIDATION, contract_features, part, read_training_set
from models.evaluation.evaluation import read_evaluation
from models.evaluation.measure_candidates import observed, part_of_plan, resampling_of, scores_of
from models.measures.intervals import difference
from models.measures.metrics import LOWER_IS_BETTER, metric_value
from models.scoring.model_file import calibrated, load_model
from monitoring.verbs import parity_verb
from worlds.public.__main__ import PLANS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.contracts import Key
    from core.plan.plan import Plan

PROGRAMS = Path(sys.executable).parent
DATA = Path("data")
#: Entities whose predictions are served and recomputed.
_SERVED = 200

Answers: TypeAlias = "list[dict[str, Any]]"
Ask: TypeAlias = Callable[["list[dict[str, Any]]"], Answers]


@contextmanager
def entered(folder: Path) -> Iterator[None]:
    """Make `folder` the working folder for the length of the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(*command: str) -> None:
    """Run a program of this environment in the working folder; its output goes to standard error."""
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([PROGRAMS / command[0], *command[1:]], check=True, env=environment, stdout=sys.stderr)


def ask_server(bodies: list[dict[str, Any]]) -> Answers:
    """Send the bodies to a running service; return the predictions."""
    import httpx

    from panthera.service.process import running_service

    with running_service(read_settings().state) as address:
        responses = [httpx.post(f"{address}/v1/predict", json=body, timeout=60) for body in bodies]
    return _predictions(responses)


def ask_application(bodies: list[dict[str, Any]]) -> Answers:
    """Send the bodies to the application in this process; return the predictions."""
    import asyncio

    import httpx

    from serving.app import create_app

    async def exchange() -> list[httpx.Response]:
        app = create_app()
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http,
        ):
            return [await http.post("/v1/predict", json=body) for body in bodies]

    return _predictions(asyncio.run(exchange()))


def _predictions(responses: list[Any]) -> Answers:
    found: Answers = []
    for response in responses:
        if not response.is_success:
            raise SystemExit(f"a prediction was refused with status {response.status_code}: {response.text}")
        found += response.json()["predictions"]
    return found


def served(plan: Plan, ask: Ask) -> dict[str, Any]:
    """Ask for predictions of some test entities, and compare the best candidate's values with what is recomputed."""
    rows = part(read_training_set(DATA / "training_set.parquet"), TEST)
    keys: list[Key] = list(dict.fromkeys(rows.column(plan.unit.key).to_pylist()))[:_SERVED]
    as_of = {"as_of": plan.materialize.as_of.isoformat()} if plan.has_time else {}
    answers = ask([{"entities": [{plan.unit.key: key} for key in keys], **as_of}])
    parity = parity_verb(read_settings(), plan, data=DATA).to_dict()
    refused = [answer["error"]["code"] for answer in answers if "error" in answer]
    differ = sum(parity["mismatches"].values()) + parity["score_mismatches"]  # type: ignore[attr-defined,operator]
    return {
        "served": len(answers) - len(refused),
        "refused": len(refused),
        "values_compared": parity["values_compared"],
        "differences": differ,
    }


def compared(plan: Plan) -> dict[str, Any]:
    """Measure the best candidate and the reference on the same test rows, by the plan's primary metric."""
    section, problem, primary = plan.evaluate, plan.project.problem, plan.evaluate.primary
    table = read_training_set(DATA / "training_set.parquet")
    train = part(table, TRAIN)
    features = contract_features(plan.build_features, plan.training_set.service, train)
    test = part_of_plan(plan, table, TEST, features, task_of(problem, train, plan.label.ordered))
    best = read_evaluation(DATA / "evaluation.json").results[0]
    model = load_model(*read_candidate(DATA / "candidates" / best.candidate))
    outputs = calibrated(model.outputs(test.rows.inputs), best.calibration)
    ours = observed(section, problem, test, scores_of(outputs), best.threshold)
    reference, more = (
        observed(section, problem, test, reference_rows(plan, table, features, parts), best.threshold)
        for parts in ([TRAIN], [TRAIN, VALIDATION])
    )
    pair = (ours, reference) if primary in LOWER_IS_BETTER else (reference, ours)
    found = difference(primary, *pair, resampling_of(section, plan.train.seed))
    return {
        "metric": primary,
        "rows": len(table),
        "test_rows": len(test.rows.label),
        "candidate": best.candidate,
        "auc_or_skill": round(metric_value(primary, ours), 4),
        "reference": round(metric_value(primary, reference), 4),
        "with_validation": round(metric_value(primary, more), 4),
        "regret": round(found.difference, 4),
        "regret_interval": None if isnan(found.lower) else [round(found.lower, 4), round(found.upper, 4)],
    }


def measure(name: str, folder: Path, *, in_process: bool) -> dict[str, Any]:
    """Run the plan `name` in `folder`; return its measurements."""
    run("panthera", "project", str(PLANS[name]), str(folder))
    import_module(f"worlds.public.{name}").write(folder)
    with entered(folder):
        plan = read_plan(Path("params.yaml"))
        try:
            if in_process:
                run_stages()
            else:
                run("dvc", "repro")
            return {**compared(plan), **served(plan, ask_application if in_process else ask_server)}
        finally:
            run("panthera", "down")


def main() -> None:
    """Run the plans, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plans", nargs="*", default=list(PLANS), help="names of plans; default: all")
    parser.add_argument("--in-process", action="store_true", help="run the stages in this process, without DVC")
    parser.add_argument("--out", type=Path, help="folder to keep the projects in, in place of a temporary one")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with TemporaryDirectory() as temporary:
        for name in arguments.plans:
            folder = (arguments.out or Path(temporary)).absolute() / name
            results[name] = measure(name, folder, in_process=arguments.in_process)
            print(f"{name}: {json.dumps(results[name])}", file=sys.stderr, flush=True)
    regrets = [result["regret"] for result in results.values()]
    print(json.dumps({"plans": results, "regret_median": round(median(regrets), 4)}))


if __name__ == "__main__":
    main()
