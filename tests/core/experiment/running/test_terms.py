"""The terms of experiments that run in the service."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from scipy.stats import chi2_contingency, chisquare

from core.experiment.running.terms import Canary, Limits, RunningArm, RunningTerms, Target

_ARMS = (RunningArm("control", "r1"), RunningArm("b", "r2"), RunningArm("c", "r3", 2))
_TERMS = RunningTerms(_ARMS, "trial:1", coverage=10_000)
_UNITS = [str(number) for number in range(8_000)]


def test_units_are_assigned_in_proportion_to_the_weights() -> None:
    counts = Counter(_TERMS.arm_of(unit) for unit in _UNITS)
    assert chisquare([counts["control"], counts["b"], counts["c"]], [2_000, 2_000, 4_000]).pvalue > 0.001


def test_the_arms_of_two_experiments_are_independent() -> None:
    other = replace(_TERMS, salt="another:1")
    pairs = Counter((_TERMS.arm_of(unit), other.arm_of(unit)) for unit in _UNITS)
    names = [arm.name for arm in _ARMS]
    assert chi2_contingency([[pairs[one, two] for two in names] for one in names]).pvalue > 0.001


def test_two_experiments_of_a_layer_share_no_unit() -> None:
    one, two = replace(_TERMS, layer_to=4_000), replace(_TERMS, salt="other:1", layer_from=4_000)
    both = [(one.arm_of(unit), two.arm_of(unit)) for unit in _UNITS]
    assert all((first is None) != (second is None) for first, second in both)
    # Four standard deviations of 8,000 draws with probability 0.4: 4 * sqrt(8,000 * 0.24) = 175.
    assert abs(sum(first is not None for first, _ in both) - 3_200) < 175


def test_the_holdout_is_the_same_for_all_experiments_of_a_layer() -> None:
    one, two = replace(_TERMS, holdout=1_000), replace(_TERMS, salt="other:1", holdout=1_000)
    held_out = [{unit for unit in _UNITS if terms.arm_of(unit) is None} for terms in (one, two)]
    assert held_out[0] == held_out[1]
    assert abs(len(held_out[0]) - 800) < 107


def test_a_higher_coverage_keeps_every_unit_in_its_arm() -> None:
    small, large = replace(_TERMS, coverage=100), replace(_TERMS, coverage=5_000)
    assert all(small.arm_of(unit) in {None, large.arm_of(unit)} for unit in _UNITS)


@pytest.mark.parametrize(
    ("comparison", "value", "found", "matches"),
    [
        (">=", 3.0, 3, True),
        ("<", 3.0, 3, False),
        ("=", "NL", "NL", True),
        ("!=", "NL", "BE", True),
        ("!=", "NL", None, False),
        (">", 3.0, "text", False),
        ("=", 3.0, float("nan"), False),
    ],
)
def test_a_target_is_a_condition_on_a_present_value(
    comparison: str, value: float | str, found: float | str | None, *, matches: bool
) -> None:
    assert Target("history__orders", comparison, value).matches(found) is matches


def test_terms_survive_json() -> None:
    terms = replace(
        _TERMS, target=Target("a__b", "=", "x"), limits=Limits(shift=0.1), canary=Canary((100, 5_000), 60.0)
    )
    assert RunningTerms.from_json(terms.to_json()) == terms
