"""The triggered analysis: units for which the two releases decide differently."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import pytest

from core.experiment.design import Design, compare_arms
from core.experiment.phases import enter_phase, phase_terms
from monitoring.paired.comparison import Contestant
from monitoring.paired.triggered import fetch_triggered, triggered_result
from monitoring.served_outcomes import OutcomeWindow
from tests.monitoring.log_rows import NOON

if TYPE_CHECKING:
    import psycopg

    from monitoring.paired.triggered import TriggeredResult

DAY = timedelta(days=1)
LATER, WINDOW = NOON + 60 * DAY, OutcomeWindow(30 * DAY, timedelta(0))
UNITS = 2_000
#: The releases decide differently about a tenth; of these the challenger's arm loses 20 %, the champion's 60 %, others 30 %.
SHARE = 0.1


def _fill(connection: psycopg.Connection, shadowed: float = 1.0) -> None:
    """Write exposures in two equal arms, their predictions, the shadow scores of a share of them, and outcomes."""
    rng = np.random.default_rng(4)
    phase = enter_phase(connection, phase_terms("trial", "s", {"champion": 1, "challenger": 1}, "r1", "r2"))
    differs, treated = rng.random(UNITS) < SHARE, np.arange(UNITS) % 2 == 1
    lost = rng.random(UNITS) < np.where(~differs, 0.3, np.where(treated, 0.2, 0.6))
    with connection.cursor() as cursor:
        for number in range(UNITS):
            arm, release, other = ("challenger", "r2", "r1") if treated[number] else ("champion", "r1", "r2")
            scores = {"r1": 0.2, "r2": 0.8 if differs[number] else 0.3}
            identity = UUID(int=number + 1)
            cursor.execute(
                "INSERT INTO panthera.prediction (prediction_id, entity, as_of, release_id, experiment, arm, score, decision, "
                "features, event_times, statuses) VALUES (%s, %s, %s, %s, 'trial', %s, %s, '', '{}', '{}', '{}')",
                [identity, str(number), NOON, release, arm, scores[release]],
            )
            cursor.execute(
                "INSERT INTO panthera.exposure (experiment, entity, arm, bucket, release_id, prediction_id, exposed_at, "
                "phase_id) VALUES ('trial', %s, %s, 0, %s, %s, %s, %s)",
                [str(number), arm, release, identity, NOON, phase],
            )
            if number < shadowed * UNITS:
                cursor.execute(
                    "INSERT INTO panthera.shadow_score (release_id, prediction_id, score) VALUES (%s, %s, %s)",
                    [other, identity, scores[other]],
                )
        cursor.execute(
            "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value, model) "
            "SELECT entity, entity, %s, value, 'model' FROM unnest(%s::text[], %s::float8[]) AS sent (entity, value)",
            [NOON + DAY, [str(number) for number in range(UNITS)], lost.astype(float).tolist()],
        )


def _analysed(connection: psycopg.Connection) -> tuple[TriggeredResult, float, float]:
    """Return the result, the difference over all units, and the width of its interval."""
    design = Design("trial", {"champion": 1, "challenger": 1}, 0.95, 0.001, WINDOW.horizon)
    comparison = compare_arms(connection, design, LATER)
    arms = fetch_triggered(connection, "trial", Contestant("r1", 0.5), Contestant("r2", 0.6), WINDOW, LATER)
    result = triggered_result(comparison, arms, 0.001)
    return result, comparison.difference, comparison.ci_upper - comparison.ci_lower


def test_the_effect_among_units_whose_decision_differs_is_found_and_diluted_to_all(
    connection: psycopg.Connection,
) -> None:
    _fill(connection)
    found, of_all, width = _analysed(connection)
    assert found.not_shown_because is None
    assert found.share == pytest.approx(SHARE, abs=0.02)
    assert found.units == round(found.share * UNITS)
    assert (found.ci_lower < -0.4 < found.ci_upper, found.ci_upper < 0) == (True, True)
    assert found.diluted == pytest.approx(found.share * found.difference)
    lower, upper = found.diluted_bounds
    assert lower < -0.04 < upper < 0
    assert upper - lower < 0.4 * width
    assert abs(found.diluted - of_all) < width / 2
    assert f"the decisions of {found.units:,} units" in found.words
    assert found.to_dict()["diluted"] == pytest.approx(found.diluted)


def test_without_the_shadows_scores_it_says_which_shadow_to_run(connection: psycopg.Connection) -> None:
    _fill(connection, shadowed=0.9)
    found, _, _ = _analysed(connection)
    assert "panthera shadow --release challenger" in str(found.not_shown_because)
    assert "not shown" in found.words
