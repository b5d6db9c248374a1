"""The gap between outcomes and what scores promise, over histories whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from core.calibration import ScoreReference
from monitoring.concept_drift import LIMIT, CohortGaps, Gap, Sums, cohort_gaps, cusum
from tests.monitoring.simulated_scores import reference_of, relation, shifted_scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Relation = Callable[[NDArray[np.float64]], NDArray[np.float64]]

WEEKS = 52


def first_alarm(seed: int, truth: Relation, *, reference_rows: int, rows: int, weeks: int = WEEKS) -> int | None:
    """Return the number of cohorts after which a history raises an alarm; None without one."""
    rng = np.random.default_rng(seed)
    reference = reference_of(rng, reference_rows)
    gaps: list[CohortGaps | None] = []
    for _ in range(weeks):
        score = shifted_scores(rng, rows)
        gaps.append(cohort_gaps(score, (rng.random(rows) < truth(score)).astype(np.float64), reference))
    level = cusum([gap.level if gap else None for gap in gaps])
    discrimination = cusum([gap.discrimination if gap else None for gap in gaps])
    sums = (level, discrimination)
    alarmed = [week for one in sums for week, at in enumerate(one, 1) if max(at.upper, at.lower) > LIMIT]
    return min(alarmed, default=None)


def test_200_histories_of_a_year_without_change_raise_at_most_the_stated_share_of_alarms() -> None:
    alarms = [first_alarm(seed, relation, reference_rows=500, rows=200) for seed in range(200)]
    # Stated: 5 %. The mix of cases differs from that of the reference in every cohort.
    assert sum(alarm is not None for alarm in alarms) <= 10


def test_more_positives_than_promised_raise_the_alarm_within_six_cohorts() -> None:
    found = [first_alarm(seed, lambda s: relation(s) + 0.15, reference_rows=2000, rows=500) for seed in range(20)]
    assert all(week is not None and week <= 6 for week in found), found


def test_scores_that_no_longer_order_the_outcomes_raise_the_alarm_although_the_level_holds() -> None:
    def flat(score: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.full(len(score), relation(score).mean())

    found = [first_alarm(seed, flat, reference_rows=2000, rows=500) for seed in range(20)]
    assert all(week is not None and week <= 6 for week in found), found


def test_the_level_is_the_excess_of_positives_in_standard_deviations() -> None:
    # One block, 10,000 reference rows, p = 0.5: of 100 rows 50 +- 5 are promised.
    reference = ScoreReference((0.5,), (0.5,), (10_000.0,), (5_000.0,), 10_000)
    gaps = cohort_gaps(np.full(100, 0.5), np.repeat([1.0, 0.0], [60, 40]), reference)
    assert gaps is not None
    assert gaps.level.value == pytest.approx(2.0)
    # The reference's standard error is 0.5 / 100 per row: 0.5 rows of 100, or 0.1 standard deviations.
    assert gaps.level.allowed == pytest.approx(3 * 0.1, rel=1e-3)
    assert gaps.discrimination == Gap(0.0, 0.0)


def test_rows_of_few_entities_are_a_less_certain_reference() -> None:
    many = ScoreReference((0.5,), (0.5,), (10_000.0,), (5_000.0,), 10_000)
    few = ScoreReference((0.5,), (0.5,), (10_000.0,), (5_000.0,), 100)
    score, outcome = np.full(100, 0.5), np.repeat([1.0, 0.0], 50)
    allowed = [gaps.level.allowed for gaps in (cohort_gaps(score, outcome, one) for one in (many, few)) if gaps]
    assert allowed[1] / allowed[0] == pytest.approx(10, rel=0.01)


def test_a_cohort_too_small_for_a_normal_gap_leaves_the_sums_unchanged() -> None:
    reference = ScoreReference((0.5,), (0.5,), (100.0,), (50.0,), 100)
    assert cohort_gaps(np.full(19, 0.5), np.ones(19), reference) is None
    assert cusum([Gap(3.0, 0.5), None]) == [Sums(2.0, 0.0)] * 2


def test_the_sums_never_fall_below_zero() -> None:
    assert cusum([Gap(-9.0, 0.0), Gap(2.0, 0.0)]) == [Sums(0.0, 8.5), Sums(1.5, 6.0)]
