"""Assignment to arms."""

from __future__ import annotations

from collections import Counter

import pytest

from core.experiment.assignment import BUCKETS, arm_of, bucket, covered_arm

#: The cases "hash" of GrowthBook's specification of its SDKs, packages/sdk-js/test/cases.json: seed, value, n; its version 2.
_PUBLISHED = [
    ("seed", "a", 0.0505),
    ("seed", "b", 0.2696),
    ("foo", "ab", 0.2575),
    ("foo", "def", 0.2019),
    ("89123klj", "8952klfjas09ujkasdf", 0.124),
    ("90850943850283058242805", "123", 0.7516),
    ("()**(%$##$%#$#", '___)((*":&', 0.0128),
]


@pytest.mark.parametrize(("seed", "value", "n"), _PUBLISHED)
def test_the_hash_is_the_one_that_growthbook_publishes(seed: str, value: str, n: float) -> None:
    assert bucket(seed, value) / BUCKETS == n


@pytest.mark.parametrize(
    ("place", "weights", "arm"),
    [
        (0, {"champion": 50, "challenger": 50}, "challenger"),
        (4999, {"champion": 50, "challenger": 50}, "challenger"),
        (5000, {"champion": 50, "challenger": 50}, "champion"),
        (9999, {"champion": 50, "challenger": 50}, "champion"),
        (0, {"champion": 1, "challenger": 0}, "champion"),
        (9999, {"champion": 0, "challenger": 3}, "challenger"),
        (3333, {"challenger": 1, "champion": 2}, "challenger"),
        (3334, {"challenger": 1, "champion": 2}, "champion"),
    ],
)
def test_an_arm_holds_its_share_of_the_buckets(place: int, weights: dict[str, int], arm: str) -> None:
    assert arm_of(place, weights) == arm


def test_the_order_of_the_arms_in_the_plan_moves_nobody() -> None:
    one, other = {"champion": 7, "challenger": 3}, {"challenger": 3, "champion": 7}
    assert all(arm_of(place, one) == arm_of(place, other) for place in range(BUCKETS))


def test_a_bucket_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 to 9999"):
        arm_of(BUCKETS, {"champion": 1})


def test_entities_split_as_the_weights_say_whatever_the_salt() -> None:
    for salt in ("first_release", "second_release"):
        arms = Counter(
            arm_of(bucket(salt, str(entity)), {"champion": 50, "challenger": 50}) for entity in range(20_000)
        )
        # Four standard deviations of a fair coin thrown 20,000 times: 4 * sqrt(20,000) / 2 = 283.
        assert abs(arms["champion"] - 10_000) < 283


def test_another_salt_is_another_experiment() -> None:
    halves = [(bucket("a", str(entity)) < 5000, bucket("b", str(entity)) < 5000) for entity in range(10_000)]
    same = sum(one == other for one, other in halves)
    assert abs(same - 5000) < 200


#: GrowthBook's cases "getBucketRange": coverage of 10,000, weights, and the covered ranges of the buckets.
_RANGES = [
    (10_000, (1, 1), [(0, 5_000), (5_000, 10_000)]),
    (5_000, (1, 1), [(0, 2_500), (5_000, 7_500)]),
    (1_000, (4, 6), [(0, 400), (4_000, 4_600)]),
    (0, (1, 1), [(0, 0), (5_000, 5_000)]),
]


@pytest.mark.parametrize(("coverage", "weights", "ranges"), _RANGES)
def test_a_part_of_each_arm_is_covered(coverage: int, weights: tuple[int, int], ranges: list[tuple[int, int]]) -> None:
    arms = list(zip("ab", weights, strict=True))
    for place in range(BUCKETS):
        expected = next((arm for arm, (low, high) in zip("ab", ranges, strict=True) if low <= place < high), None)
        assert covered_arm(place, arms, coverage) == expected


def test_a_higher_coverage_moves_nobody_between_arms() -> None:
    arms = [("a", 7), ("b", 2), ("c", 3)]
    for low, high in [(100, 500), (500, 5_000), (5_000, 10_000)]:
        before = [covered_arm(place, arms, low) for place in range(BUCKETS)]
        after = [covered_arm(place, arms, high) for place in range(BUCKETS)]
        assert all(old in {None, new} for old, new in zip(before, after, strict=True))
        assert sum(arm is not None for arm in after) == pytest.approx(high, abs=len(arms))
