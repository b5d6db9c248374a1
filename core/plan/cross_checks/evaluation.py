"""Checks of metrics, the gate, attributes, money, groups, expected drift and the covariate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.dtypes import NUMERIC
from core.plan.cross_checks.declared import undeclared, unreached
from core.plan.evaluate import INTERVAL_METRICS, METRICS, ORDINAL_METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.cross_checks.declared import Finding
    from core.plan.evaluate import Metric
    from core.plan.plan import Plan


def evaluation_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of metrics, thresholds and the baseline."""
    section = plan.evaluate
    problem: str = plan.project.problem
    yield from undeclared("evaluate.baseline", "candidate", section.baseline, plan.train.candidates)
    for metric in section.metrics:
        yield from undeclared("evaluate.metrics", f"metric of a {problem} problem", metric, METRICS[problem])
    if problem == "binary" and section.threshold is None:
        yield "evaluate.threshold", "this key is missing; a binary problem decides by a threshold, say {maximise: f1}"
    for key in ("threshold", "money"):
        if problem != "binary" and getattr(section, key) is not None:
            yield f"evaluate.{key}", f"a {problem} problem has no decision at a threshold; take the key out"
    if problem != "binary" and section.fairness is not None:
        yield "evaluate.fairness", f"a {problem} problem has no decisions to compare; take the key out"
    if (problem == "binary") != bool(plan.serve.decisions.above):
        needs = (
            "needs the names of its two decisions" if problem == "binary" else "decides by no threshold: take it out"
        )
        yield "serve.decisions", f"a {problem} problem {needs}"
    yield from _measured(plan)
    if problem == "regression" and section.calibration != "none":
        yield "evaluate.calibration", "the scores of a regression are no probabilities; take the key out"


def _measured(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for an interval, names or an order of classes that the problem does not have, and for their metrics."""
    section, label, problem = plan.evaluate, plan.label, plan.project.problem
    if section.interval is not None and problem != "regression":
        yield "evaluate.interval", f"a {problem} problem predicts probabilities, not a number; take the key out"
    if label.order is not None and problem != "multiclass":
        yield "label.order", f"a {problem} problem has no classes to order; take the key out"
    if label.names is not None and problem != "binary":
        yield "label.names", f"a {problem} problem has no class 0 and class 1; take the key out"
    chosen = {"evaluate.metrics": section.metrics, **_promoted(plan)}
    for path, metrics in chosen.items():
        if problem == "regression" and section.interval is None and INTERVAL_METRICS.intersection(metrics):
            yield path, "a metric of intervals needs the key evaluate.interval; add {coverage: 0.9}"
        if problem == "multiclass" and label.order is None and ORDINAL_METRICS.intersection(metrics):
            yield path, "a metric of ordered classes needs the key label.order; list the classes from lowest to highest"
    for path, metric in (("evaluate.primary", section.primary), ("register.win", plan.register_.win)):
        if metric == "coverage":
            yield path, "coverage is higher the wider the intervals; write interval_score, which counts their width"


def _promoted(plan: Plan) -> dict[str, tuple[Metric, ...]]:
    """Return the metrics of the gate, by the path of their key."""
    section = plan.register_
    named = {"not_lose": tuple(section.not_lose), "no_part_loses": tuple(section.no_part_loses)}
    named["win"] = (section.win,) if section.win else ()
    return {f"register.{key}": metrics for key, metrics in named.items()}


def register_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of the metrics of the gate."""
    section, problem = plan.register_, plan.project.problem
    chosen = {f"not_lose.{metric}": metric for metric in section.not_lose}
    chosen |= {f"no_part_loses.{metric}": metric for metric in section.no_part_loses}
    if section.no_part_loses and not plan.evaluate.groups:
        yield "register.no_part_loses", "there are no parts; name groups in evaluate.groups"
    if section.max_ece is not None and problem == "regression":
        yield "register.max_ece", "the scores of a regression are no probabilities; take the key out"
    if section.win is not None:
        chosen["win"] = section.win
    for key, metric in chosen.items():
        yield from undeclared(f"register.{key}", f"metric of a {problem} problem", metric, METRICS[problem])
        if metric == "profit" and plan.evaluate.money is None:
            yield f"register.{key}", "profit needs the key evaluate.money, which says what a decision earns"


def attribute_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of the attributes of training rows."""
    views, unit = plan.build_features.views, plan.ingest[plan.label.source].entity
    section = plan.training_set
    named = [("training_set.attributes", reference) for reference in section.attributes]
    single = (("training_set.split.by", section.split_by), ("training_set.weight", section.weight))
    for path, reference in (*named, *((path, reference) for path, reference in single if reference)):
        name, _, feature = reference.partition(".")
        yield from undeclared(path, "view", name, views)
        if name not in views:
            continue
        yield from undeclared(path, f"feature of {name}", feature, views[name].features)
        if path == "training_set.weight" and feature in views[name].features:
            yield from _number(path, reference, views[name].features[feature].dtype)
        about = plan.entity_name(views[name])
        if about != unit and plan.entities[about].of is None:
            yield path, unreached(name, about, unit)


def _number(path: str, reference: str, dtype: str) -> Iterator[Finding]:
    if dtype not in NUMERIC - {"bool"}:
        yield path, f"{reference} is a {dtype}; expected a number"


def money_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each amount by row that is no number of the training set."""
    money, dtypes = plan.evaluate.money, _known_dtypes(plan)
    for key, reference in (money.references if money else {}).items():
        path = f"evaluate.money.{key}"
        known = f"feature of {plan.training_set.service}, or attribute of training_set"
        yield from undeclared(path, known, reference, dtypes)
        if reference in dtypes:
            yield from _number(path, reference, dtypes[reference])


def allowance_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each allowed leak that is not a feature of the service."""
    pairs = plan.build_features.service_features(plan.training_set.service)
    known, service = [f"{view}.{name}" for view, name in pairs], plan.training_set.service
    for reference in plan.training_set.leakage.allow:
        yield from undeclared("training_set.leakage.allow", f"feature of {service}", reference, known)


def drift_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each column with expected drift that the model does not read."""
    service = plan.training_set.service
    pairs = plan.build_features.service_features(service)
    known = ["score", *{f"{view}.*": None for view, _ in pairs}, *(f"{view}.{name}" for view, name in pairs)]
    for reference in plan.monitor.expected_drift:
        yield from undeclared("monitor.expected_drift", f"column of {service}", reference, known)


def covariate_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding if the covariate of the experiment is no number that the model reads; others are not logged."""
    covariate = plan.monitor.experiment.covariate if plan.monitor.experiment else None
    if covariate is None or covariate == "score":
        return
    path, service = "monitor.experiment.covariate", plan.training_set.service
    dtypes = _service_dtypes(plan)
    yield from undeclared(path, f"feature of {service}", covariate, dtypes)
    if covariate in dtypes:
        yield from _number(path, covariate, dtypes[covariate])


def _service_dtypes(plan: Plan) -> dict[str, str]:
    """Return the dtypes of the features of the service, by `view.feature`."""
    views = plan.build_features.views
    pairs = plan.build_features.service_features(plan.training_set.service)
    return {f"{view}.{name}": views[view].features[name].dtype for view, name in pairs}


def _known_dtypes(plan: Plan) -> dict[str, str]:
    """Return the dtypes of the features of the service and of the attributes, by `view.feature`."""
    views, dtypes = plan.build_features.views, _service_dtypes(plan)
    for reference in plan.training_set.attributes:
        name, _, feature = reference.partition(".")
        if name in views and feature in views[name].features:
            dtypes[reference] = views[name].features[feature].dtype
    return dtypes


def group_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of groups and of the fairness of groups."""
    section, dtypes = plan.evaluate, _known_dtypes(plan)
    for name, group in section.groups.items():
        path, dtype = f"evaluate.groups.{name}", dtypes.get(group.feature)
        known = f"feature of {plan.training_set.service}, or attribute of training_set"
        yield from undeclared(f"{path}.feature", known, group.feature, dtypes)
        if dtype in {"text", "timestamp"}:
            yield f"{path}.feature", f"{group.feature} is a {dtype}; a group needs a string, a bool or a number"
        elif dtype is not None and bool(group.edges) != (dtype in NUMERIC - {"bool"}):
            yield f"{path}.edges", f"{group.feature} is a {dtype}; edges belong to numbers, and those need them"
    for name in section.fairness.groups if section.fairness else ():
        yield from undeclared("evaluate.fairness.groups", "group", name, section.groups)
