"""Assignment of entities to experiment arms by a salted hash: deterministic, without stored state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Number of buckets of GrowthBook's hash, version 2.
BUCKETS = 10_000

_OFFSET_BASIS = 0x811C9DC5
_PRIME = 0x01000193


def _fnv1a(text: str) -> int:
    """Return the 32-bit Fowler-Noll-Vo 1a hash of the UTF-8 bytes of `text`."""
    state = _OFFSET_BASIS
    for byte in text.encode():
        state = ((state ^ byte) * _PRIME) & 0xFFFFFFFF
    return state


def bucket(salt: str, entity: str) -> int:
    """Return the bucket (0 to 9,999) of `entity` by GrowthBook's published hash, version 2, with the seed `salt`.

    GrowthBook's n in [0, 1) is this bucket divided by 10,000. The decimal digits of the first hash are hashed again, which
    removes the correlation between experiments that a single pass leaves.

    >>> bucket("seed", "a")
    505
    """
    return _fnv1a(str(_fnv1a(salt + entity))) % BUCKETS


def arm_of(bucket: int, weights: Mapping[str, int]) -> str:
    """Return the arm of `bucket` when the buckets are divided in proportion to `weights`.

    Arms are taken in alphabetical order, so that their order in the plan does not change any assignment.

    >>> arm_of(2499, {"champion": 3, "challenger": 1}), arm_of(2500, {"champion": 3, "challenger": 1})
    ('challenger', 'champion')
    """
    total, cumulative = sum(weights.values()), 0
    for arm in sorted(weights):
        cumulative += weights[arm]
        if bucket * total < cumulative * BUCKETS:
            return arm
    raise ValueError(f"bucket {bucket} belongs to no arm of {dict(weights)}; expected 0 to {BUCKETS - 1}")


def covered_arm(bucket: int, weights: Sequence[tuple[str, int]], coverage: int) -> str | None:
    """Return the arm of `bucket` if `coverage` of 10,000 parts of each arm are in the experiment; None if it is not.

    Each arm has a range of buckets in proportion to its weight, in the order of `weights`; its first part is covered. A
    higher coverage therefore adds units to each arm and moves none between arms.

    >>> [covered_arm(each, [("a", 1), ("b", 1)], 1_000) for each in (499, 500, 5499, 5500)]
    ['a', None, 'b', None]
    """
    total, before = sum(weight for _, weight in weights), 0
    for arm, weight in weights:
        within = bucket * total - before * BUCKETS
        if within < weight * BUCKETS:
            return arm if within * BUCKETS < weight * BUCKETS * coverage else None
        before += weight
    raise ValueError(f"bucket {bucket} belongs to no arm of {dict(weights)}; expected 0 to {BUCKETS - 1}")
