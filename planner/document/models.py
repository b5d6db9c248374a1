"""The chapters of a document about the models of a plan: candidates, evaluation, release, service and monitoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.document.parts import Chapter, Row, Statement, Table

if TYPE_CHECKING:
    from core.plan.plan import Plan
    from core.plan.train import Candidate
    from planner.document.parts import Stated

_POLICIES = {
    "refuse": "an error for the entity",
    "answer_and_flag": "an answer that says so",
    "as_missing": "an answer without that value",
}


def candidates(plan: Plan, stated: Stated) -> Chapter:
    """Return the chapter about the candidates."""
    rows = [Row((name, found.estimator, _settings(found)), "stated") for name, found in plan.train.candidates.items()]
    evaluate = plan.evaluate
    return Chapter(
        "Model selection",
        (
            Table("Candidates", ("candidate", "estimator", "settings"), tuple(rows)),
            Statement(f"The best {evaluate.primary} on the validation rows is chosen.", "stated"),
            Statement(
                f"The baseline is {evaluate.baseline}: a model that is no better is not worth its keep.", "stated"
            ),
            Statement(f"All draws have the seed {plan.train.seed}.", stated.basis("train.seed")),
        ),
    )


def _settings(candidate: Candidate) -> str:
    stated = candidate.model_dump(mode="json", exclude_unset=True, exclude={"estimator"})
    tune = stated.pop("tune", None)
    shown = [f"{key}: {_words(value)}" for key, value in stated.items()]
    return "; ".join([*shown, *([f"searched: {', '.join(tune['search'])}"] if tune else [])]) or "defaults"


def _words(value: object) -> str:
    """Compose a value of the plan for readers; a step without keys is its name."""
    if isinstance(value, dict):
        return ", ".join(_words(one) if key == "step" else f"{key} {_words(one)}" for key, one in value.items())
    return ", ".join(map(_words, value)) if isinstance(value, list) else str(value)


def evaluation(plan: Plan, stated: Stated) -> Chapter:
    """Return the chapter about metrics, threshold and money."""
    section = plan.evaluate
    level = f"{section.intervals.confidence:.0%}"
    parts = [
        Statement(f"Metrics: {', '.join(section.metrics)}.", "stated"),
        Statement(
            f"Each has an interval of {level}, by resampling {plan.cluster_column}.", stated.basis("evaluate.intervals")
        ),
        Statement(f"Calibration of the scores: {section.calibration}.", stated.basis("evaluate.calibration")),
    ]
    if (chosen := section.threshold) is not None:
        text = f"at {chosen.at:g}" if chosen.at is not None else f"where {chosen.maximise} is highest"
        parts.append(Statement(f"The threshold is {text} on the validation rows.", stated.basis("evaluate.threshold")))
    if section.interval:
        parts.append(
            Statement(f"Answers have an interval that holds {section.interval.coverage:.0%} of labels.", "stated")
        )
    if money := section.money:
        unit = f" in {money.currency}" if money.currency else ""
        parts.append(
            Statement(
                f"Money{unit}: one who is kept is worth {money.kept_value}, an offer costs {money.offer_cost}, a contact "
                f"{money.contact_cost}; {money.acceptance:.0%} accept, and {money.capacity:.0%} of all can be contacted.",
                "stated",
            )
        )
    return Chapter("Evaluation", tuple(parts))


def release(plan: Plan, stated: Stated) -> Chapter:
    """Return the chapter about what a release must show, and how it is served."""
    section, serve = plan.register_, plan.serve
    win, by = section.win or plan.evaluate.primary, f" by {section.win_by:g}" if section.win_by else ""
    arms = ", ".join(f"{role} {weight}" for role, weight in serve.arms.items())
    parts = [
        Statement(f"Releases are called {section.model}.", "stated"),
        Statement(
            f"A release becomes champion if it is better in {win}{by} on the same test rows.",
            stated.basis("register.win"),
        ),
        *(
            Statement(f"It may not lose more than {margin:g} of {metric}.", "stated")
            for metric, margin in section.not_lose.items()
        ),
        Statement(
            f"A missing feature gives {_POLICIES[serve.missing]}, a stale one {_POLICIES[serve.stale]}.", "stated"
        ),
        Statement(f"The experiment {serve.experiment} gives its arms the weights {arms}.", "stated"),
    ]
    if serve.decisions.above:
        above, below = serve.decisions.above, serve.decisions.below
        parts.append(Statement(f"The decision is {above} from the threshold on, and {below} below it.", "stated"))
    parts.append(
        Statement(f"A request has at most {serve.max_entities:,} entities.", stated.basis("serve.max_entities"))
    )
    parts.append(Statement("One step brings the earlier release back: panthera rollback.", "assumed"))
    return Chapter("Deployment", tuple(parts))


def monitoring(plan: Plan, stated: Stated) -> Chapter:
    """Return the chapter about what is watched."""
    section = plan.monitor
    parts: list[Statement | Table] = [
        Statement(f"A column has drifted from a stability index of {section.psi_alarm:g} on.", "stated"),
        Statement(f"Parity recomputes {section.parity_sample:.0%} of the logged predictions.", "stated"),
        Statement(
            f"Cohorts are compared at a confidence of {section.confidence:.0%}, and not at all if their sizes have a p-value "
            f"below {section.sample_ratio_alarm:g}.",
            stated.basis("monitor.confidence"),
        ),
    ]
    if section.experiment:
        terms = section.experiment
        parts.append(
            Statement(
                f"The experiment is decided by {terms.looks} looks, and finds a difference of {terms.minimum_effect:g} with "
                f"probability {terms.power:g}.",
                stated.basis("monitor.experiment"),
            )
        )
    if section.expected_drift:
        rows = [Row((name, reason), "stated") for name, reason in section.expected_drift.items()]
        parts.append(Table("Expected to move", ("values", "reason"), tuple(rows)))
    return Chapter("Monitoring", tuple(parts))
