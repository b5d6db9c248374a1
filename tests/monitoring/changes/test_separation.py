"""The line of `panthera drift` about all columns together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.small_release import enter
from models.bundles.bundle import read_facts
from models.bundles.signing import read_trusted
from monitoring.changes.separation import separate_served
from monitoring.drift import DriftResult

if TYPE_CHECKING:
    from core.settings import Settings
    from models.bundles.bundle import BundleFacts

COLUMN = "history__orders"


@pytest.fixture
def facts(settings: Settings) -> BundleFacts:
    """The facts of a release whose sample of training rows has 0 to 39 orders, 25 rows of each."""
    found = read_facts(settings.bundles / enter(settings, "r1").bundle_digest, read_trusted(settings))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({COLUMN: np.arange(1_000) % 40, "score": np.zeros(1_000)}), sink)
    return replace(found, sample=sink.getvalue().to_pybytes())


def test_served_rows_like_those_of_training_are_not_told_from_them_and_others_are(facts: BundleFacts) -> None:
    alike = separate_served(facts, [[number % 40] for number in range(400)], {})
    fewer = separate_served(facts, [[number % 10] for number in range(400)], {})
    assert alike is not None
    assert fewer is not None
    assert (alike.is_shown, fewer.is_shown) == (False, True)
    assert (fewer.rows_reference, fewer.rows_current, dict(fewer.columns)) == (1_000, 400, {COLUMN: 1.0})
    assert "no change is shown" in alike.sentence
    assert fewer.sentence.endswith("(false alarms 1%), by history__orders")
    # A served row has under 10 orders; a training row does in a quarter of cases, and ties count half: 3/4 + 1/8. Trees split
    # among these 10 by chance, which takes a little off.
    assert fewer.auc == pytest.approx(0.875, abs=0.05)
    result = DriftResult("r1", None, None, (), together=fewer)
    assert result.to_dict()["together"]["auc"] == fewer.auc  # type: ignore[index]
    assert fewer.sentence in str(result.table().caption)


def test_columns_that_must_move_and_few_rows_are_left_out(facts: BundleFacts) -> None:
    assert separate_served(facts, [[number % 10] for number in range(400)], {COLUMN: "it grows"}) is None
    assert separate_served(facts, [[1]] * 199, {}) is None
    assert separate_served(facts, [[None]] * 400, {}) is not None
