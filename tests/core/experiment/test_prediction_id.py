"""Ids of predictions: UUIDs of version 7."""

from __future__ import annotations

import time
from uuid import RFC_4122

from core.experiment.prediction_log import new_prediction_id


def test_an_id_has_version_and_variant_and_begins_with_its_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    found = new_prediction_id()
    after = time.time_ns() // 1_000_000
    assert (found.version, found.variant) == (7, RFC_4122)
    assert before <= found.int >> 80 <= after


def test_ids_of_one_millisecond_differ_and_later_ones_are_greater() -> None:
    first = [new_prediction_id() for _ in range(1000)]
    assert len(set(first)) == len(first)
    time.sleep(0.002)
    assert new_prediction_id() > max(first)


def test_all_random_bits_take_both_values() -> None:
    ids = [new_prediction_id().int for _ in range(200)]
    fixed = 0b1111 << 76 | 0b11 << 62
    varying = (1 << 80) - 1 & ~fixed
    ones, zeros = 0, 0
    for each in ids:
        ones, zeros = ones | each, zeros | ~each
    assert ones & varying == zeros & varying == varying
