"""Months of simulated logs, by the bins and the rules: what alarms without a change, and what a round says of each change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.monitoring.false_alarms import changed_relation, constant_columns
from core.plan.plan import Decide
from core.reference import BinCounts, Reference, build_reference
from monitoring.drift import DriftResult, columns_drift
from monitoring.rounds.rules import Decided, Decision, Measured, PastRound, decide

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Columns = dict[str, NDArray[np.float64]]
    Change = Callable[[Columns, np.random.Generator], Columns]

START, MONTH = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=30)
ROWS, RULES = 1_400, Decide()
WEIGHTS = {"v__minutes": 0.6, "v__price": 0.3, "v__tickets": 0.1}


def month(rng: np.random.Generator, rows: int = ROWS) -> Columns:
    """Draw a month: minutes of which a fifth are 0, prices with a twentieth missing, rare tickets, and a score."""
    minutes = np.where(rng.random(rows) < 0.2, 0.0, rng.gamma(2.0, 300.0, rows))
    price = np.where(rng.random(rows) < 0.05, np.nan, rng.normal(20.0, 5.0, rows))
    return {
        "v__minutes": minutes,
        "v__price": price,
        "v__tickets": rng.poisson(0.1, rows).astype(float),
        "score": 1 / (1 + np.exp(minutes / 300 - 1 + rng.normal(0, 0.3, rows))),
    }


def bins(reference: Reference, columns: Columns) -> dict[str, BinCounts]:
    """Count as the log is counted: `test_served_counts` compares the two."""
    counts = {}
    for column in reference.columns:
        values = columns[column.name]
        present = values[~np.isnan(values)]
        indices = np.searchsorted(np.asarray(column.edges), present, side="right")
        regular = np.bincount(indices, minlength=len(column.edges) + 1)
        counts[column.name] = BinCounts(tuple(map(int, regular)), 0, len(values) - len(present))
    return counts


def times(factor: float) -> Change:
    """Multiply the minutes, on which the score depends."""

    def change(columns: Columns, _: np.random.Generator) -> Columns:
        minutes = columns["v__minutes"] * factor
        return {**columns, "v__minutes": minutes, "score": 1 / (1 + np.exp(minutes / 300 - 1))}

    return change


def broken(columns: Columns, rng: np.random.Generator) -> Columns:
    lost = rng.random(ROWS) < 0.3
    return {**columns, "v__price": np.where(lost, np.nan, columns["v__price"])}


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(
        pa.table({name: pa.array(v, from_pandas=True) for name, v in month(np.random.default_rng(1), 20_000).items()})
    )


def rounds(
    reference: Reference, months: int, change: Callable[[Columns, np.random.Generator], Columns] | None
) -> list[Decided]:
    """Return what the round of each month decides; the change begins with the first."""
    rng, past, decisions = np.random.default_rng(2), list[PastRound](), []
    for number in range(months):
        as_of, columns = START + number * MONTH, month(rng)
        counts = bins(reference, change(columns, rng) if change else columns)
        drift = DriftResult("r1", None, as_of, columns_drift(reference, counts, 0.1, {}))
        measured = Measured("r1", None, None, False, None, drift, None, None, {}, WEIGHTS)
        decisions.append(decide(measured, past, RULES, as_of))
        past.insert(0, PastRound("r1", as_of, decisions[-1].decision, decisions[-1].has_drift))
    return decisions


def test_two_hundred_months_without_a_change_raise_no_alarm(reference: Reference) -> None:
    assert {each.decision for each in rounds(reference, 200, None)} == {Decision.HOLD}
    assert not any(each.has_drift for each in rounds(reference, 200, None))


def test_a_shift_of_the_inputs_is_held_for_a_month_and_then_retrained(reference: Reference) -> None:
    first, second = rounds(reference, 2, times(0.4))
    assert (first.decision, second.decision) == (Decision.HOLD, Decision.RETRAIN)
    assert "the score drifted" in first.reasons[0]
    assert "v__minutes" in first.reasons[1]


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (times(60), "v__minutes left its range"),
        (times(1 / 60), "v__minutes left its range"),
        (broken, "v__price is missing in 3"),
    ],
)
def test_broken_data_block_from_the_first_month_and_never_retrain(
    reference: Reference, change: Change, because: str
) -> None:
    decided = rounds(reference, 4, change)
    assert {each.decision for each in decided} == {Decision.BLOCK}
    assert all(each.reasons[0].startswith(because) for each in decided)


def test_columns_that_were_constant_are_named_within_a_window_and_not_before() -> None:
    found = constant_columns()
    assert 0 < found["constant_delay_rows"] <= 336
    assert found["constant_false_alarms"] == 0


def test_a_relation_that_changes_is_shown_in_its_month_by_all_columns_together_and_by_no_column() -> None:
    assert changed_relation() == {"correlation_delay_months": 1, "correlation_psi_alarms": 0}
