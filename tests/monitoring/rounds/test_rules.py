"""The rules of a round, one by one: what they decide of what was measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from core.experiment.cohorts import ArmCounts, ExperimentArms, Phase, PhaseArms
from core.experiment.decision import ExperimentDecision
from core.experiment.strata import compare
from core.plan.plan import Decide
from monitoring.drift import ColumnDrift, DriftResult
from monitoring.parity import CauseGroup, ParityResult
from monitoring.performance import DriftAlarm, PerformanceResult
from monitoring.rounds.rules import Decision, Measured, PastRound, decide

if TYPE_CHECKING:
    from core.experiment.cohorts import Comparison
    from core.experiment.decision import Outcome

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
RULES = Decide(better="higher")


def column(name: str, psi: float = 0.0, missing: float = 0.0, other: float = 0.0, rows: int = 1000) -> ColumnDrift:
    return ColumnDrift(name, psi, 0.1, psi > 0.1, 0.0, missing, other, 1000, rows)


def drift(*columns: ColumnDrift) -> DriftResult:
    return DriftResult("r2", None, AS_OF, columns)


def parity(defects: int = 0) -> ParityResult:
    counts = dict.fromkeys(CauseGroup, 0) | {CauseGroup.TRANSFORMATION: defects}
    return ParityResult(("r2",), 100, 700, 0, counts, 0, ())


def cohorts(
    champion: int, challenger: int, releases: tuple[str, str] = ("r2", "r3"), before: int | None = None
) -> Comparison:
    """Compare arms of a thousand units each, of which so many have the outcome 1; `before` is r1's time as champion."""

    def phase(number: int, ones: tuple[int, int], names: tuple[str, str], weights: tuple[int, int]) -> PhaseArms:
        since = AS_OF + number * DAY
        terms = Phase(
            experiment="e",
            salt="s",
            champion_weight=weights[0],
            challenger_weight=weights[1],
            champion=names[0],
            challenger=names[1],
            phase_id=number,
            since=since,
        )
        champion_arm = ArmCounts("champion", 1000, 1000, 1000, ones[0], ones[0])
        count = 1000 if weights[1] else 0
        challenger_arm = ArmCounts("challenger", count, count, count, ones[1], ones[1])
        challengers = (names[1],) if count else ()
        return PhaseArms(terms, champion_arm, challenger_arm, (names[0],), challengers, 0, since)

    phases = [phase(2, (champion, challenger), releases, (1, 1))]
    if before is not None:
        phases.insert(0, phase(1, (before, 0), ("r1", ""), (1, 0)))
    return compare(ExperimentArms("e", AS_OF, tuple(phases)), {"champion": 1, "challenger": 1}, 0.95, 0.001)


def performance(*gaps: str) -> PerformanceResult:
    alarms = tuple(DriftAlarm(gap, "more positives", AS_OF, 9.0) for gap in gaps)
    return PerformanceResult("r2", "binary", AS_OF, "week", 0.95, "roc_auc", "test rows", (), alarms)


SOUND = Measured(
    champion="r2",
    challenger="r3",
    predecessor="r1",
    challenger_was_champion=False,
    gate="won",
    drift=drift(column("score"), column("v__a"), column("v__b")),
    parity=parity(),
    cohorts=cohorts(500, 510),
    problems={},
    weights={},
)
DRIFTED = replace(SOUND, drift=drift(column("score", psi=0.3)))


JUMPED = replace(column("v__a", psi=5.0), end_share_rise=0.8)


def past(decision: str = "hold", days: float = 1, *, has_drift: bool = True, champion: str = "r2") -> PastRound:
    return PastRound(champion, AS_OF - days * DAY, Decision(decision), has_drift)


@pytest.mark.parametrize(
    ("measured", "rounds", "decision", "because"),
    [
        (SOUND, [], "hold", "nothing needs attention"),
        (DRIFTED, [], "hold", "it is not sustained yet"),
        (DRIFTED, [past()], "retrain", "it is sustained"),
        (
            replace(DRIFTED, drift=drift(column("score", psi=0.3), JUMPED)),
            [past()],
            "block",
            "v__a left its range: 80% more",
        ),
        (replace(SOUND, drift=drift(replace(JUMPED, expected="it grows", alarm=False))), [], "hold", "nothing needs"),
        (replace(SOUND, drift=drift(replace(JUMPED, name="score"))), [past()], "retrain", "the score drifted"),
        (DRIFTED, [past(days=0.5)], "hold", "it is not sustained yet"),
        (DRIFTED, [past(days=0.5), past(days=1)], "retrain", "it is sustained"),
        (DRIFTED, [past(has_drift=False), past(days=2)], "hold", "it is not sustained yet"),
        (DRIFTED, [past(champion="r1")], "hold", "it is not sustained yet"),
        (DRIFTED, [past("retrain", 6.9)], "hold", "monitor.decide.cooldown"),
        (DRIFTED, [past("retrain", 7)], "retrain", "it is sustained"),
        (replace(SOUND, is_silent=True), [], "block", "served no prediction"),
        (replace(SOUND, parity=parity(3)), [], "block", "3 values or scores of 100 predictions differ"),
        (replace(SOUND, drift=drift(column("v__a", missing=0.1))), [], "block", "v__a is missing in 10.0%"),
        (replace(SOUND, drift=drift(column("v__a", other=0.2))), [], "block", "unlike those of training"),
        (replace(SOUND, drift=drift(column("v__a", missing=0.9, rows=99))), [], "hold", "found 99 predictions"),
        (replace(SOUND, drift=drift(column("score", 0.3), column("v__a", missing=0.5))), [past()], "block", "missing"),
        (replace(SOUND, cohorts=cohorts(500, 600)), [], "promote", "the challenger is better"),
        (replace(SOUND, cohorts=cohorts(500, 560)), [], "hold", "nothing needs attention"),  # p = 0.007 at one look
        (replace(SOUND, cohorts=cohorts(500, 600), parity=None), [], "hold", "parity could not be checked"),
        (replace(SOUND, cohorts=cohorts(500, 600), gate="lost"), [], "hold", "the gate's verdict on r3 is lost"),
        (replace(SOUND, cohorts=cohorts(500, 600, ("r1", "r3"))), [], "hold", "not those that answer now"),
        (replace(SOUND, cohorts=cohorts(500, 600)), [past("promote", 2)], "hold", "cooldown"),
        (replace(SOUND, cohorts=cohorts(500, 400)), [], "retire", "the challenger is worse"),
        (replace(SOUND, cohorts=cohorts(500, 400, ("r1", "r3"))), [], "hold", "the challenger is worse"),
        (
            replace(SOUND, cohorts=cohorts(500, 600), challenger_was_champion=True),
            [],
            "roll_back",
            "an earlier champion",
        ),
        (replace(SOUND, cohorts=cohorts(400, 410, before=500)), [], "roll_back", "worse by more than the guardrail"),
        (replace(SOUND, cohorts=cohorts(470, 480, before=500)), [], "hold", "nothing needs attention"),
        (replace(SOUND, performance=performance()), [], "hold", "nothing needs attention"),
        (replace(SOUND, performance=performance("level")), [], "retrain", "the relation changed"),
        (replace(SOUND, performance=performance("level"), parity=parity(1)), [], "block", "1 values"),
        (replace(SOUND, performance=performance("level")), [past("retrain", 3)], "hold", "cooldown"),
        (replace(SOUND, drift=None, problems={"drift": "why"}), [], "hold", "drift was not measured: why"),
    ],
)
def test_a_rule_decides_and_says_why(measured: Measured, rounds: list[PastRound], decision: str, because: str) -> None:
    decided = decide(measured, rounds, RULES, AS_OF)
    assert decided.decision == decision
    assert because in "; ".join(decided.reasons)


def with_decision(decision: Outcome) -> Measured:
    """Return arms whose confidence sequence excludes 0, and whose looks decided otherwise."""
    comparison = cohorts(500, 400 if decision == "ship the challenger" else 600)
    return replace(SOUND, cohorts=replace(comparison, decision=ExperimentDecision(decision, "why", 0.5, (), 5)))


@pytest.mark.parametrize(
    ("outcome", "decision", "because"),
    [
        ("ship the challenger", "promote", "why: the challenger is better, and all checks pass"),
        ("keep the champion", "retire", "why"),
        ("go on", "hold", "the decision about the experiment is 'go on': why"),
        ("withheld", "hold", "the decision about the experiment is 'withheld': why"),
    ],
)
def test_the_looks_decide_about_the_arms_if_the_plan_has_terms(outcome: Outcome, decision: str, because: str) -> None:
    decided = decide(with_decision(outcome), [], RULES, AS_OF)
    assert (decided.decision, decided.reasons) == (decision, (because,))


def test_the_faults_of_a_challenger_hold_the_decision_of_looks_too() -> None:
    measured = replace(with_decision("ship the challenger"), gate="lost")
    assert decide(measured, [], RULES, AS_OF).decision == "hold"
    earlier = replace(with_decision("ship the challenger"), challenger_was_champion=True)
    assert decide(earlier, [], RULES, AS_OF).decision == "roll_back"


def test_a_promotion_and_a_rollback_name_the_release() -> None:
    assert decide(replace(SOUND, cohorts=cohorts(500, 600)), [], RULES, AS_OF).target == "r3"
    assert decide(replace(SOUND, cohorts=cohorts(400, 410, before=500)), [], RULES, AS_OF).target == "r1"


def test_a_lower_outcome_is_better_if_the_plan_says_so_and_none_is_without_its_word() -> None:
    lower = replace(SOUND, cohorts=cohorts(500, 400))
    assert decide(lower, [], Decide(better="lower"), AS_OF).decision == "promote"
    assert decide(lower, [], Decide(), AS_OF).decision == "hold"
    assert "set monitor.decide.better" in decide(lower, [], Decide(), AS_OF).reasons[0]


@pytest.mark.parametrize(
    ("weights", "has_drift"), [({"v__a": 0.3, "v__b": 0.2}, True), ({"v__a": 0.3, "v__b": 0.1}, False)]
)
def test_drifted_features_count_by_their_weight_in_the_model(weights: dict[str, float], has_drift: bool) -> None:
    measured = replace(SOUND, drift=drift(column("v__a", 0.2), column("v__b", 0.2)), weights=weights)
    assert decide(measured, [], RULES, AS_OF).has_drift is has_drift


def test_the_words_are_optional_and_have_the_defaults_that_the_page_names() -> None:
    rules: dict[str, Any] = Decide().model_dump()
    assert rules == {
        "window": 7 * DAY,
        "minimum_rows": 100,
        "broken_share": 0.1,
        "drifted_weight": 0.5,
        "jumped_share": 0.5,
        "apart": DAY,
        "better": None,
        "guardrail": 0.1,
        "cooldown": 7 * DAY,
    }
