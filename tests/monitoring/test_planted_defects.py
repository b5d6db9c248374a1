"""Planted defects of each class, ten of each: `make bench-parity` plants a hundred, in a log of 120,000 values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.monitoring.parity import CLASSES, ParityWorld, plant

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ParityWorld:
    folder: Path = tmp_path_factory.mktemp("parity")
    return ParityWorld(folder, customers=300)


def test_no_value_differs_if_no_defect_is_planted(world: ParityWorld) -> None:
    results = world.check(world.served())
    assert sum(result.values_compared for result in results) == 300 * 6
    assert not any(result.mismatches or result.score_mismatches for result in results)


def test_planted_defects_of_each_class_are_named_by_it(world: ParityWorld) -> None:
    planted = plant(world, 10)
    assert {name: (each.planted, each.right) for name, each in planted.items()} == dict.fromkeys(CLASSES, (10, 10))
