"""The PSI against values worked out by hand, its limit against the chi-square table, and both against simulation."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import monitoring.drift
from core.reference import BinCounts, build_reference
from monitoring.drift import DriftResult, column_drift, columns_drift, population_stability_index, psi_without_drift

TENTHS = BinCounts((2_000,) * 10, other=0, missing=0)
counts = st.builds(
    BinCounts,
    regular=st.tuples(*[st.integers(0, 500)] * 4),
    other=st.integers(0, 500),
    missing=st.integers(0, 500),
)


def test_psi_of_a_half_that_became_a_quarter() -> None:
    # p = 25.5/101 and 75.5/101 against q = 1/2: (25/101) ln(75.5/25.5), as the two differences are equal and opposite.
    psi = population_stability_index(BinCounts((50, 50), 0, 0), BinCounts((25, 75), 0, 0))
    assert psi == pytest.approx(25 / 101 * math.log(75.5 / 25.5), rel=1e-12)


def test_psi_counts_a_bin_that_one_side_leaves_empty_as_half_a_row() -> None:
    # Three bins in use: 40, 60, 0 of 100 against 40, 40, 20 of 100; each side is 101.5 after smoothing.
    psi = population_stability_index(BinCounts((40, 60), 0, 0), BinCounts((40, 40), 0, 20))
    assert psi == pytest.approx((20 * math.log(60.5 / 40.5) + 20 * math.log(20.5 / 0.5)) / 101.5, rel=1e-12)


def test_bins_without_any_row_change_nothing() -> None:
    narrow = population_stability_index(BinCounts((50, 50), 0, 0), BinCounts((25, 75), 0, 0))
    wide = population_stability_index(BinCounts((50, 0, 50, 0), 0, 0), BinCounts((25, 0, 75, 0), 0, 0))
    assert narrow == wide


@given(reference=counts, current=counts)
def test_psi_is_symmetric_never_negative_and_zero_for_itself(reference: BinCounts, current: BinCounts) -> None:
    if not (reference.rows and current.rows):
        assert math.isnan(population_stability_index(reference, current))
        return
    there = population_stability_index(reference, current)
    assert there >= 0
    assert there == pytest.approx(population_stability_index(current, reference), abs=1e-12)
    assert population_stability_index(current, current) == 0


@pytest.mark.parametrize(("n", "published"), [(200, 16.919 / 200), (1_000, 16.919 / 1_000)])
def test_the_limit_without_drift_follows_the_chi_square_table(n: int, published: float) -> None:
    # 16.919 is the 95 % point of chi-square with 9 degrees of freedom; the reference is made as good as infinite.
    reference = BinCounts((10**9,) * 10, other=0, missing=0)
    assert psi_without_drift(reference, BinCounts((n // 10,) * 10, 0, 0)) == pytest.approx(published, rel=1e-4)


def test_a_finite_reference_widens_the_limit() -> None:
    # 0.018 at n = 1,000 (design/experiments.md) is with a reference of some 20,000 rows: 16.919 (1/1,000 + 1/20,000).
    assert psi_without_drift(TENTHS, BinCounts((100,) * 10, 0, 0)) == pytest.approx(0.01776, abs=5e-6)


@pytest.mark.parametrize("n", [200, 1_000])
def test_psi_exceeds_its_limit_in_one_of_twenty_windows_without_drift(n: int) -> None:
    windows, above = 4_000, 0
    random = np.random.default_rng(20_261_123)
    for drawn in random.multinomial(n, [0.1] * 10, size=windows):
        current = BinCounts(tuple(int(count) for count in drawn), 0, 0)
        above += population_stability_index(TENTHS, current) > psi_without_drift(TENTHS, current)
    # The standard error of a share of 0.05 is 0.0034 in 4,000 windows; the reference is fixed, so a little below 0.05.
    assert 0.03 < above / windows < 0.06


def test_one_bin_cannot_drift() -> None:
    drift = column_drift("constant", BinCounts((5,), 0, 0), BinCounts((9,), 0, 0), alarm=0.1)
    assert (drift.psi, drift.limit, drift.alarm) == (0.0, 0.1, False)


def test_a_small_window_has_a_wider_limit_than_the_plan_says() -> None:
    # n = 40: 16.919 (1/40 + 1/20,000) = 0.4238.
    drift = column_drift("feature", TENTHS, BinCounts((4,) * 10, 0, 0), alarm=0.1)
    assert drift.limit == pytest.approx(0.42382, abs=1e-4)
    assert not drift.alarm


def test_newly_missing_values_are_drift() -> None:
    current = BinCounts((40,) * 10, other=0, missing=600)
    drift = column_drift("feature", TENTHS, current, alarm=0.1)
    assert drift.alarm
    assert (drift.missing_share_reference, drift.missing_share_current) == (0.0, 0.6)


def test_levels_that_training_did_not_know_are_drift() -> None:
    drift = column_drift("level", BinCounts((500, 500), 0, 0), BinCounts((400, 400), other=200, missing=0), alarm=0.1)
    assert drift.alarm
    assert drift.other_share_current == 0.2


def test_an_outlier_does_not_hide_drift() -> None:
    random = np.random.default_rng(7)
    reference = build_reference(pa.table({"spend": random.normal(size=5_000)})).columns[0]
    shifted = random.normal(loc=0.5, size=1_000)

    def psi(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        bins = np.bincount(np.searchsorted(reference.edges, values, side="right"), minlength=10)
        return population_stability_index(reference.counts, BinCounts(tuple(map(int, bins)), 0, 0))

    with_outlier = np.concatenate([shifted, [1e4]])
    assert psi(shifted) > 0.1
    assert psi(with_outlier) == pytest.approx(psi(shifted), rel=0.02)


@pytest.mark.parametrize(
    ("current", "alarm"),
    [
        (BinCounts((1_000, *(0,) * 9), other=0, missing=0), False),
        (BinCounts((700, *(0,) * 9), other=0, missing=300), True),
        (BinCounts((700, *(0,) * 9), other=300, missing=0), True),
    ],
    ids=["other values", "missing values", "unknown values"],
)
def test_values_may_move_as_expected_and_not_go_missing(current: BinCounts, alarm: bool) -> None:
    drift = column_drift("tenure", TENTHS, current, 0.1, expected="the cohort ages")
    assert drift.psi > drift.limit
    assert (drift.alarm, drift.moved_as_expected) == (alarm, not alarm)
    assert column_drift("tenure", TENTHS, current, 0.1).alarm


def test_the_summary_tells_expected_from_other_drift() -> None:
    moved = BinCounts((1_000, *(0,) * 9), other=0, missing=0)
    columns = (
        column_drift("tenure", TENTHS, moved, 0.1, expected="the cohort ages"),
        column_drift("silence", TENTHS, moved, 0.1, expected="the cohort ages"),
        column_drift("spend", TENTHS, moved, 0.1),
        column_drift("price", TENTHS, TENTHS, 0.1, expected="inflation"),
    )
    result = DriftResult("release", None, None, columns)
    assert result.alarms == ("spend",)
    assert result.summary == "1 of 4 columns drifted; 2 more moved as the plan expects (monitor.expected_drift)"
    assert result.reasons == ("the cohort ages",)
    assert result.to_dict()["moved_as_expected"] == ["tenure", "silence"]


def test_a_window_without_rows_alarms_rather_than_passes() -> None:
    drift = column_drift("feature", TENTHS, BinCounts((0,) * 10, 0, 0), alarm=0.1)
    assert math.isnan(drift.psi)
    assert drift.alarm


def test_every_column_of_the_reference_is_compared_in_its_order() -> None:
    reference = build_reference(pa.table({"b": [1, 2, 3], "a": ["x", "y", "z"], "score": [0.1, 0.2, 0.3]}))
    current = {column.name: column.counts for column in reference.columns}
    assert [(drift.name, drift.psi) for drift in columns_drift(reference, current, 0.1, {})] == [
        ("b", 0.0),
        ("a", 0.0),
        ("score", 0.0),
    ]


def test_the_example_of_the_documentation_holds() -> None:
    assert doctest.testmod(monitoring.drift) == doctest.TestResults(failed=0, attempted=2)
