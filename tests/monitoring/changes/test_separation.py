"""The line of `panthera drift` about all columns together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.small_release import enter
from core.calibration import ScoreReference
from core.plan.evaluate import Money
from models.bundles.bundle import read_facts
from models.bundles.signing import read_trusted
from monitoring.changes.cost import cost_of_change
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


def test_the_cost_is_that_of_the_rows_that_grew_and_names_where_it_is() -> None:
    # Half of the rows earn 1 and stand for a half more, the others earn 0: 1.5/2 - 1/2 = 0.25 a decision, in equal parts.
    earns = np.arange(400) % 2 == 0
    odds = np.where(earns, 1.5, 0.5)
    found = cost_of_change(earns * 1.0, odds, {"earning": earns, "nobody": np.zeros(400, bool)})
    assert (found.profit, found.segment, found.segment_profit) == (250.0, "earning", 125.0)
    assert found.lower <= 250 <= found.upper
    lost = cost_of_change(earns * 1.0, 2 - odds, {"earning": earns, "nobody": np.zeros(400, bool)})
    assert (lost.profit, lost.segment) == (-250.0, "earning")


def test_a_shift_to_rows_that_leave_is_priced_by_the_money_of_the_plan(facts: BundleFacts) -> None:
    leaves = (np.arange(1_000) % 40) < 10
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({COLUMN: np.arange(1_000) % 40, "score": leaves * 0.8 + 0.1}), sink)
    scores = ScoreReference((0.1, 0.9), (0.1, 0.9), (750.0, 250.0), (75.0, 225.0), 1_000)
    priced = replace(
        facts,
        sample=sink.getvalue().to_pybytes(),
        contract=replace(facts.contract, score_reference=scores, threshold=0.5),
    )
    money = Money(currency="USD", kept_value=100, acceptance=0.5, offer_cost=0, contact_cost=10)
    found = separate_served(priced, [[number % 10] for number in range(400)], {}, money)
    assert found is not None
    assert found.cost is not None
    # A quarter of the training rows is contacted and earns 0.9 * 50 - 10 = 35; of the served rows all are: 3/4 of 35,000 more.
    assert 15_000 < found.cost.profit < 27_000
    assert found.cost.segment.startswith("history__orders from ")
    assert "expected change of profit" in found.sentence
    assert separate_served(priced, [[number % 40] for number in range(400)], {}, money).cost is None  # type: ignore[union-attr]


def test_columns_that_must_move_and_few_rows_are_left_out(facts: BundleFacts) -> None:
    assert separate_served(facts, [[number % 10] for number in range(400)], {COLUMN: "it grows"}) is None
    assert separate_served(facts, [[1]] * 199, {}) is None
    assert separate_served(facts, [[None]] * 400, {}) is not None
