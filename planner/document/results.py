"""The chapters of a document about risks, what is still open, and what the last run measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import StaleStateError
from planner.document.parts import Chapter, Row, Statement, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from core.plan.plan import Plan
    from models.evaluation.evaluation import Evaluation
    from planner.document.parts import Basis, Stated


#: Metrics in the table of groups.
_MOST_METRICS = 5


@dataclass(frozen=True)
class Results:
    """What the last run measured; None where no stage has run."""

    evaluation: Evaluation | None = None
    leakage: dict[str, Any] | None = None
    findings: dict[str, Any] | None = None
    checks: dict[str, Any] | None = None


def read_results(folder: Path) -> Results:
    """Read the results of the stages in `folder`; those that are absent, or of another version, are None."""
    from models.evaluation.evaluation import read_evaluation

    try:
        evaluation = read_evaluation(folder / "evaluation.json")
    except StaleStateError:
        evaluation = None
    return Results(evaluation, *(_read(folder / name) for name in ("leakage.json", "findings.json", "checks.json")))


def _read(file: Path) -> dict[str, Any] | None:
    return dict(json.loads(file.read_text())) if file.exists() else None


def risks(plan: Plan, results: Results) -> Chapter:
    """Return the chapter about what can go wrong, how likely it is, and what is done about it."""
    head = ("risk", "likelihood", "mitigation")
    found = tuple(_checked(results))
    checked = (Table("What panthera plan check found in the data", ("key", "level", "found", "what to do"), found),)
    return Chapter(
        "Risks", (Table("What can go wrong", head, tuple(_risks(plan, results))), *(checked if found else ()))
    )


def _checked(results: Results) -> Iterator[Row]:
    """Yield the findings of `panthera plan check --json`, if they are kept beside the other results."""
    for one in (results.checks or {}).get("findings", ()):
        what = f"{one['found']}; expected: {one['expected']}"
        yield Row((one["path"], one["level"], what, one["next"]), "measured")


def _risks(plan: Plan, results: Results) -> Iterator[Row]:
    likelihood, basis = _leak(results)
    alone = f"fails the run above {plan.training_set.leakage.alone:g}; panthera plan prove shows that no feature looks ahead"
    yield Row(("A feature knows the label", likelihood, alone), basis)
    beats, basis = _beats_baseline(plan, results)
    yield Row(("The model is no better than the baseline", beats, "the gate compares releases on the same rows"), basis)
    yield Row(
        (
            "A feature is missing or stale when it is asked for",
            "not measured",
            f"missing: {plan.serve.missing}; stale: {plan.serve.stale}; panthera status shows the age of each table",
        ),
        "stated",
    )
    yield Row(
        (
            "Serving sees other values than training",
            "not measured",
            f"panthera parity recomputes {plan.monitor.parity_sample:.0%} of the log, value by value",
        ),
        "stated",
    )
    yield Row(
        (
            "The population changes",
            "not measured",
            f"panthera drift alarms from {plan.monitor.psi_alarm:g} on; a release is taken back in one step",
        ),
        "stated",
    )
    for name, source in plan.ingest.items():
        if source.event_time is not None and source.created_time is None:
            yield Row(
                (
                    f"Rows of {name} become known later than they happened",
                    "not known: it has no created_time",
                    "state created_time, so that no feature reads a row before it was there",
                ),
                "assumed",
            )


def _leak(results: Results) -> tuple[str, Basis]:
    if not (results.leakage and results.leakage.get("alone")):
        return "not measured", "assumed"
    worst = max(results.leakage["alone"], key=lambda one: one["reached"])
    return f"{worst['feature']} alone reaches {worst['reached']:.3f}", "measured"


def _beats_baseline(plan: Plan, results: Results) -> tuple[str, Basis]:
    if results.evaluation is None:
        return "not measured", "assumed"
    metric, found = plan.evaluate.primary, results.evaluation
    best, base = found.results[0], found.result(found.baseline)
    if metric not in best.test or metric not in base.test:
        return "not measured", "assumed"
    return f"{metric} {best.test[metric]:.4f} against {base.test[metric]:.4f} on the test rows", "measured"


def questions(plan: Plan, stated: Stated) -> Chapter:
    """Return the chapter about what the plan leaves open."""
    rows = [Row(one, "assumed") for one in _questions(plan, stated)]
    if not rows:
        return Chapter("Open questions", (Statement("The plan leaves no question open.", "stated"),))
    return Chapter("Open questions", (Table("What is not stated", ("key", "question", "until then"), tuple(rows)),))


def _questions(plan: Plan, stated: Stated) -> Iterator[tuple[str, str, str]]:
    asked = [
        ("project.target_outcome", "What should be better by how much, and by when?", "no goal is checked"),
        ("project.scope", "Who is in, and who is out?", "all that the population names"),
        ("register.not_lose", "Which metrics may a release not lose?", "only the first metric counts"),
        ("monitor.expected_drift", "Which values are expected to move?", "every move is an alarm"),
    ]
    if plan.project.problem == "binary":
        asked.insert(2, ("evaluate.money", "What does a right and a wrong decision cost?", "no profit is measured"))
    yield from (one for one in asked if not stated.has(one[0]))


def outcome(plan: Plan, results: Results) -> Chapter:
    """Return the chapter about the last run."""
    found = results.evaluation
    if found is None:
        return Chapter("Results", (Statement("No run has been evaluated yet: dvc repro.", "measured"),))
    metrics = [metric for metric in plan.evaluate.metrics if any(metric in each.test for each in found.results)]
    rows = [
        Row(
            (each.candidate, *(_value(each.test, each.test_lower, each.test_upper, metric) for metric in metrics)),
            "measured",
        )
        for each in found.results
    ]
    return Chapter(
        "Results",
        (
            Statement(f"{found.results[0].candidate} is the best candidate on the validation rows.", "measured"),
            Table("On the test rows", ("candidate", *metrics), tuple(rows)),
        ),
    )


def groups(plan: Plan, results: Results) -> Iterator[Chapter]:
    """Yield the chapter about the groups of the test rows, if the last run measured any."""
    parts = (results.findings or {}).get("parts", ())
    if not parts:
        return
    metrics = [one for one in plan.evaluate.metrics if any(one in part["measured"] for part in parts)][:_MOST_METRICS]
    rows = [
        Row(
            (f"{part['group']}: {part['part']}", f"{part['rows']:,}", *(_measure(part, metric) for metric in metrics)),
            "measured",
        )
        for part in parts
    ]
    yield Chapter("Groups", (Table("On the test rows of each group", ("group", "rows", *metrics), tuple(rows)),))


def _measure(part: Mapping[str, Any], metric: str) -> str:
    """Compose a metric of a group with its interval; empty where it is not defined."""
    found = part["measured"].get(metric, {})
    return _with_bounds(found.get("value"), found.get("lower"), found.get("upper"), digits=3)


def _value(value: dict[str, float], lower: dict[str, float], upper: dict[str, float], metric: str) -> str:
    return _with_bounds(value.get(metric), lower.get(metric), upper.get(metric), digits=4)


def _with_bounds(value: float | None, lower: float | None, upper: float | None, *, digits: int) -> str:
    """Compose a number with its bounds, if it has some; empty without a number."""
    if value is None:
        return ""
    between = "" if lower is None or upper is None else f" ({lower:.{digits}f} to {upper:.{digits}f})"
    return f"{value:.{digits}f}{between}"
