"""The performance of served predictions by cohort, on a real log."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from core.errors import PantheraError
from core.plan.evaluate import METRICS, Money
from core.plan.file import read_plan
from core.postgres.database import connect
from models.bundles.bundle import load_bundle, write_bundle
from models.bundles.bundling import bundle_contents, with_score_reference
from models.bundles.signing import read_signer, read_trusted
from models.measures.intervals import Resampling
from models.releases.ledger import Act, NewRelease, appoint, enter
from monitoring.concept_drift import LIMIT
from monitoring.performance import ALARM, CohortPerformance, Measuring, PerformanceResult, measure_performance
from monitoring.performance_verb import performance_verb
from monitoring.served_outcomes import OutcomeWindow, Period, ServedCohort, fetch_served_outcomes
from panthera.cli import main
from tests.monitoring.simulated_scores import reference_of, reference_scores, relation
from tests.monitoring.test_verbs import register, training_rows

if TYPE_CHECKING:
    import psycopg

    from core.calibration import ScoreReference
    from core.plan.plan import Plan
    from core.settings import Settings

MONDAY = datetime(1998, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = OutcomeWindow(30 * DAY, timedelta())
#: The outcomes of predictions in the week of `MONDAY` are known.
LATER = MONDAY + 7 * DAY + 30 * DAY
FEW = Resampling(repeats=100)


def log(
    connection: psycopg.Connection,
    entity: str,
    day: float,
    score: float,
    *,
    decision: str = "leave",
    replay: bool = False,
    release_id: str = "r1",
) -> None:
    """Write a prediction that was made `day` days after `MONDAY`."""
    connection.execute(
        "INSERT INTO panthera.prediction (prediction_id, entity, as_of, release_id, experiment, arm, score, decision, "
        "features, event_times, statuses, replay) "
        "VALUES (gen_random_uuid(), %s, %s, %s, 'trial', 'champion', %s, %s, '{}', '{}', '{}', %s)",
        [entity, MONDAY + day * DAY, release_id, score, decision, replay],
    )


def report_outcome(connection: psycopg.Connection, entity: str, day: float, value: float) -> None:
    connection.execute(
        "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value) VALUES (%s, %s, %s, %s)",
        [f"{entity} {day}", entity, MONDAY + day * DAY, value],
    )


def fetched(
    connection: psycopg.Connection,
    as_of: datetime = LATER,
    period: Period = "week",
    window: OutcomeWindow = WINDOW,
) -> list[ServedCohort]:
    return fetch_served_outcomes(connection, "r1", period, window, as_of)


def measured(cohorts: list[ServedCohort], measuring: Measuring) -> PerformanceResult:
    return measure_performance("r1", cohorts, measuring, period="week", as_of=LATER, primary="roc_auc")


BINARY = Measuring("binary", ("roc_auc", "brier"), threshold=0.5, resampling=FEW)


#: Contacting a row with outcome 1 earns 0.5 (22 - 2) = 10 on average, one with outcome 0 costs 2.
MONEY = Money(kept_value=22.0, offer_cost=2.0, acceptance=0.5)


def test_an_entity_counts_once_in_a_cohort_with_its_first_prediction_that_is_no_replay(
    connection: psycopg.Connection,
) -> None:
    log(connection, "a", 0.5, 0.1, replay=True)
    log(connection, "a", 1, 0.2)
    log(connection, "a", 2, 0.3)
    log(connection, "b", 3, 0.4, replay=True)
    log(connection, "a", 7, 0.5)
    log(connection, "c", 1, 0.9, release_id="r2")
    first, second = fetched(connection)
    assert (first.start, first.end) == (MONDAY, MONDAY + 7 * DAY)
    assert (first.score.tolist(), first.replays) == ([0.2, 0.4], 1)
    assert second.score.tolist() == [0.5]


def test_cohorts_of_a_month_end_with_it(connection: psycopg.Connection) -> None:
    log(connection, "a", 0, 0.5)
    log(connection, "a", 29, 0.5)  # 31 March
    log(connection, "a", 30, 0.5)  # 1 April
    march, april = fetched(connection, period="month")
    assert (march.start, march.end) == (datetime(1998, 3, 1, tzinfo=UTC), datetime(1998, 4, 1, tzinfo=UTC))
    assert (len(march.score), april.start) == (1, datetime(1998, 4, 1, tzinfo=UTC))


def test_a_cohort_is_mature_once_every_label_window_that_it_may_get_has_closed(connection: psycopg.Connection) -> None:
    log(connection, "a", 0, 0.5)
    report_outcome(connection, "a", 1, 1.0)
    assert [cohort.mature for cohort in fetched(connection, LATER - timedelta(seconds=1))] == [False]
    assert [cohort.mature for cohort in fetched(connection, LATER)] == [True]


def test_the_first_outcome_inside_the_label_window_counts(connection: psycopg.Connection) -> None:
    for entity in "abcd":
        log(connection, entity, 0, 0.5)
    report_outcome(connection, "a", 5, 1.0)  # within the lead
    report_outcome(connection, "a", 20, 0.0)
    report_outcome(connection, "a", 21, 1.0)
    report_outcome(connection, "b", 30, 1.0)  # at the end of the window
    report_outcome(connection, "c", 30.5, 1.0)  # too late
    (cohort,) = fetched(connection, window=OutcomeWindow(30 * DAY, 5 * DAY))
    assert np.array_equal(cohort.outcome, [0.0, 1.0, np.nan, np.nan], equal_nan=True)


def test_an_outcome_that_two_cohorts_share_is_independent_once(connection: psycopg.Connection) -> None:
    for day in (0, 7, 29, 30):
        log(connection, "a", day, 0.5)
    log(connection, "b", 7, 0.5)
    independent = [cohort.independent.tolist() for cohort in fetched(connection)]
    # a: its next window begins after day 30; days 29 and 30 are in one week, so its first prediction there is day 29.
    assert independent == [[True], [False, True], [False]]


def test_unmatched_rows_are_counted_and_are_no_negatives(connection: psycopg.Connection) -> None:
    for number in range(4):
        log(connection, str(number), 0, 0.25)
    report_outcome(connection, "0", 1, 1.0)
    report_outcome(connection, "1", 1, 0.0)
    report_outcome(connection, "2", 1, 7.0)
    result = measured(fetched(connection), BINARY)
    (cohort,) = result.cohorts
    assert (cohort.predictions, cohort.known, cohort.unmatched, cohort.unusable) == (4, 2, 1, 1)
    assert cohort.realised["positives"].value == 1
    assert cohort.offset.value == pytest.approx(0.5 - 0.25)


def test_an_immature_cohort_is_listed_with_its_count_and_measured_by_nothing(connection: psycopg.Connection) -> None:
    log(connection, "a", 0, 0.5)
    report_outcome(connection, "a", 1, 1.0)
    result = measured(fetched(connection, LATER - DAY), BINARY)
    (cohort,) = result.cohorts
    assert (cohort.state, cohort.predictions, cohort.known, cohort.realised) == ("immature", 1, 0, {})
    assert np.isnan(cohort.offset.value)
    assert "1 cohorts with 1 predictions are immature" in shown(result)


def shown(result: PerformanceResult) -> str:
    console = Console(file=StringIO(), width=240, record=True)
    console.print(result.table())
    return console.export_text()


def simulated_cohorts(
    seed: int, weeks: int, rows: int, shift: float = 0.0, mature_weeks: int | None = None
) -> list[ServedCohort]:
    """Return weeks of predictions whose outcomes follow the known relation plus `shift`."""
    rng = np.random.default_rng(seed)
    cohorts = []
    for week in range(weeks):
        score, mature = reference_scores(rng, rows), mature_weeks is None or week < mature_weeks
        outcome = (rng.random(rows) < relation(score) + shift).astype(np.float64)
        cohorts.append(
            ServedCohort(
                start=MONDAY + 7 * week * DAY,
                end=MONDAY + 7 * (week + 1) * DAY,
                mature=mature,
                score=score,
                decision=("leave",) * rows,
                outcome=outcome if mature else np.full(rows, np.nan),
                independent=np.ones(rows, dtype=np.bool_),
                replays=0,
            )
        )
    return cohorts


@pytest.fixture(scope="module")
def reference() -> ScoreReference:
    return reference_of(np.random.default_rng(1), 2000)


def test_estimates_come_before_outcomes_and_hold_the_truth_later(reference: ScoreReference) -> None:
    measuring = replace(BINARY, reference=reference, money=MONEY)
    result = measured(simulated_cohorts(3, weeks=3, rows=400, mature_weeks=2), measuring)
    assert [bool(cohort.realised) for cohort in result.cohorts] == [True, True, False]
    names = ("roc_auc", "accuracy", "precision", "recall", "log_loss", "positives", "profit")
    estimated = [
        (cohort.estimated[name], cohort.realised[name].value) for cohort in result.cohorts[:2] for name in names
    ]
    # 14 intervals of 95 %: at most two misses.
    assert sum(not found.lower <= value <= found.upper for found, value in estimated) <= 2
    assert result.cohorts[2].estimated.keys() >= {"roc_auc", "positives", "profit"}
    assert not result.alarms
    assert "no alarm in 2 mature cohorts" in shown(result)
    assert "P(y|x) unchanged" in shown(result)


def test_a_changed_relation_raises_the_alarm_and_names_the_cohort_and_the_direction(reference: ScoreReference) -> None:
    result = measured(simulated_cohorts(3, weeks=4, rows=800, shift=0.2), replace(BINARY, reference=reference))
    alarm = next(one for one in result.alarms if one.gap == "level")
    assert alarm.finding == "more positives than promised"
    assert alarm.cohort in {MONDAY, MONDAY + 7 * DAY}
    assert ALARM in shown(result)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["alarms"][0]["gap"] == "level"


def test_too_many_unknown_outcomes_raise_no_alarm(reference: ScoreReference) -> None:
    """Only positives are reported: all known outcomes are 1, and that says nothing of the relation."""
    cohorts = [
        replace(cohort, outcome=np.where(cohort.outcome == 1, 1.0, np.nan))
        for cohort in simulated_cohorts(3, weeks=4, rows=800)
    ]
    result = measured(cohorts, replace(BINARY, reference=reference))
    assert not result.alarms
    assert "concept drift is not followed yet" in result.verdict


def test_a_row_without_a_score_is_not_usable_and_leaves_the_others(reference: ScoreReference) -> None:
    (cohort,) = simulated_cohorts(3, weeks=1, rows=400)
    cohort.score[0] = np.nan
    found = only(measured([cohort], replace(BINARY, reference=reference)))
    assert (found.known, found.unusable, found.independent) == (399, 1, 399)
    assert found.estimated.keys() >= {"roc_auc", "log_loss"}
    assert max(found.level.upper, found.level.lower) < LIMIT


def test_small_cohorts_are_followed_together(reference: ScoreReference) -> None:
    result = measured(simulated_cohorts(3, weeks=80, rows=10, shift=0.25), replace(BINARY, reference=reference))
    assert result.alarms


def test_a_release_without_a_reference_takes_the_first_mature_cohorts_of_the_log() -> None:
    result = measured(simulated_cohorts(3, weeks=4, rows=300), BINARY)
    assert [cohort.state for cohort in result.cohorts] == ["reference", "mature", "mature", "mature"]
    assert [bool(cohort.estimated) for cohort in result.cohorts] == [False, True, True, True]
    assert result.reference.startswith("300 predictions of the 1 earliest mature cohorts")


def test_without_labels_and_reference_the_reason_is_named() -> None:
    result = measured(simulated_cohorts(3, weeks=1, rows=10, mature_weeks=0), BINARY)
    assert result.reference.startswith("none: the release has no scores of test rows")


def one_cohort(score: list[float], outcome: list[float], decision: list[str]) -> ServedCohort:
    independent = np.ones(len(score), dtype=np.bool_)
    return ServedCohort(
        MONDAY, MONDAY + 7 * DAY, True, np.array(score), tuple(decision), np.array(outcome), independent, 0
    )


def only(result: PerformanceResult) -> CohortPerformance:
    (cohort,) = result.cohorts
    return cohort


def test_a_regression_has_its_own_metrics_and_offset() -> None:
    cohort = only(
        measured([one_cohort([1.0, 2.0], [2.0, 5.0], ["", ""])], Measuring("regression", ("mae",), resampling=FEW))
    )
    assert cohort.realised["mae"].value == pytest.approx(2.0)
    assert cohort.offset.value == pytest.approx(2.0)
    assert cohort.estimated == {}


def test_decisions_of_several_classes_are_measured_against_the_number_of_the_class() -> None:
    rows = one_cohort([0.9, 0.6, 0.6, 0.7], [0.0, 1.0, 2.0, 9.0], ["red", "green", "red", "red"])
    measuring = Measuring("multiclass", ("log_loss", "accuracy"), classes=("red", "green", "blue"), resampling=FEW)
    cohort = only(measured([rows], measuring))
    assert cohort.realised["accuracy"].value == pytest.approx(2 / 3)
    assert cohort.offset.value == pytest.approx(2 / 3 - 0.7)
    assert (cohort.known, cohort.unusable) == (3, 1)


@pytest.fixture
def plan(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of the project, as the command line reads it with these settings."""
    settings.plan.write_text((Path(__file__).parents[2] / "params.yaml").read_text())
    monkeypatch.setenv("PANTHERA_PLAN", str(settings.plan))
    monkeypatch.setenv("PANTHERA_STATE", str(settings.state))
    monkeypatch.setenv("PANTHERA_DATABASE_URL", settings.database_url or "")
    return read_plan(settings.plan)


def appoint_with_test_rows(settings: Settings, plan: Plan, digest: str) -> ScoreReference:
    """Make a copy of a bundle, with the outcomes of 400 test rows, the champion r2."""
    bundle = load_bundle(settings.bundles / digest, read_trusted(settings))
    model = (settings.bundles / digest / "model").read_bytes()
    rows = training_rows()
    # One outcome in five does not follow the orders.
    noise = np.random.default_rng(1).random(len(rows)) < 0.2
    label = (rows["spending__orders"].to_numpy() > 2) != noise
    test = rows.append_column("label", pa.array(label.astype(np.int32)))
    contract = with_score_reference(bundle.contract, model, test.append_column("customer_id", pa.array(np.arange(400))))
    assert contract.score_reference is not None
    second = write_bundle(settings.bundles, bundle_contents(contract, model, rows), read_signer(settings))
    with connect(settings.database_url or "") as connection:
        enter(connection, NewRelease("r2", plan.register_.model, "orders", second, "all", "d", "c", "1", {}))
        appoint(connection, plan.register_.model, "champion", "r2", Act("register", "somebody", "better"))
    return contract.score_reference


def test_the_command_estimates_at_first_and_ends_with_3_once_outcomes_contradict(
    settings: Settings, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = register(settings, plan.register_.model, plan.label.horizon, "spending__0")
    with pytest.raises(PantheraError, match="release r1 served no prediction up to 1998-04-08"):
        performance_verb(settings, plan, as_of=LATER)
    with pytest.raises(PantheraError, match="the ledger has no release 'r9'; `panthera releases` lists them"):
        performance_verb(settings, plan, as_of=LATER, release_id="r9")
    kept = appoint_with_test_rows(settings, plan, digest)
    assert (sum(kept.rows), kept.entities) == (400, 400)
    with connect(settings.database_url or "") as connection:
        for number in range(200):
            log(connection, str(number), 0, number / 200, release_id="r2")
            report_outcome(connection, str(number), 1, int(number < 100))
    before = performance_verb(settings, plan, as_of=MONDAY + DAY)
    assert (before.release_id, before.reference) == ("r2", "the release's test rows (400 of 400 entities)")
    assert (only(before).state, only(before).predictions) == ("immature", 200)
    assert only(before).estimated["positives"].value > 0
    assert not before.alarms
    report = tmp_path / "performance.html"
    command = ["panthera", "performance", "--cohort", "month", "--as-of", "1999-01-01", "--report", str(report)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="3"):
        main()
    assert ALARM in capsys.readouterr().out
    assert ALARM in report.read_text()


def test_an_amount_that_differs_by_row_is_read_from_the_logged_vector(
    connection: psycopg.Connection, reference: ScoreReference
) -> None:
    for number, value in enumerate((22.0, 42.0)):
        log(connection, str(number), 0, 0.9)
        report_outcome(connection, str(number), 1, 1.0)
        connection.execute(
            "UPDATE panthera.prediction SET features = jsonb_build_object('account__value', %s::float8) WHERE entity = %s",
            [value, str(number)],
        )
    measuring = replace(BINARY, reference=reference, money=MONEY.model_copy(update={"kept_value": "account.value"}))
    cohorts = fetch_served_outcomes(connection, "r1", "week", WINDOW, LATER, ["account__value"])
    # 0.5 (22 - 2) and 0.5 (42 - 2), of two rows.
    assert only(measured(cohorts, measuring)).realised["profit"].value == pytest.approx(15_000)
    connection.execute("UPDATE panthera.prediction SET features = '{}' WHERE entity = '0'")
    without = fetch_served_outcomes(connection, "r1", "week", WINDOW, LATER, ["account__value"])
    assert "profit" not in only(measured(without, measuring)).realised


def test_every_metric_of_a_plan_is_defined_or_left_out_for_one_row_and_for_one_class(reference: ScoreReference) -> None:
    measuring = replace(BINARY, metrics=METRICS["binary"], reference=reference)
    for rows in ([1.0], [0.0, 0.0], [1.0, 0.0]):
        cohort = only(measured([one_cohort([0.4] * len(rows), rows, [""] * len(rows))], measuring))
        assert cohort.realised["accuracy"].value == pytest.approx(rows.count(0.0) / len(rows))
        assert all(np.isfinite(found.value) for found in cohort.realised.values())
