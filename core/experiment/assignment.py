"""Which arm of an experiment an entity belongs to: a salted hash, the same in every process and on every day."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The number of buckets that GrowthBook's hash, version 2, tells apart.
BUCKETS = 10_000

_OFFSET_BASIS = 0x811C9DC5
_PRIME = 0x01000193


def _fnv1a(text: str) -> int:
    """Hash the UTF-8 bytes of `text` to 32 bits by Fowler-Noll-Vo 1a."""
    state = _OFFSET_BASIS
    for byte in text.encode():
        state = ((state ^ byte) * _PRIME) & 0xFFFFFFFF
    return state


def bucket(salt: str, entity: str) -> int:
    """Hash `entity` to one of 0 .. 9,999 by GrowthBook's published hash, version 2, whose seed is `salt`.

    Their value n in [0, 1) is this bucket divided by 10,000. Hashing the decimal digits of the first hash once more
    removes the correlation between experiments that one pass leaves.

    >>> bucket("seed", "a")
    505
    """
    return _fnv1a(str(_fnv1a(salt + entity))) % BUCKETS


def arm_of(bucket: int, weights: Mapping[str, int]) -> str:
    """Find the arm that holds `bucket` when the buckets are dealt out in proportion to `weights`.

    The arms stand in alphabetical order, so that the order of the lines in the plan moves nobody.

    >>> arm_of(2499, {"champion": 3, "challenger": 1}), arm_of(2500, {"champion": 3, "challenger": 1})
    ('challenger', 'champion')
    """
    total, below = sum(weights.values()), 0
    for arm in sorted(weights):
        below += weights[arm]
        if bucket * total < below * BUCKETS:
            return arm
    raise ValueError(f"bucket {bucket} belongs to no arm of {dict(weights)}; expected 0 to {BUCKETS - 1}")
