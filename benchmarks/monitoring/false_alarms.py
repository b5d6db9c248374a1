"""Alarms of drift where nothing changed, and the delay where something did; the last line is one JSON object.

Run it as `make bench-false-alarms`. Months of a simulated log are compared with the training rows as `panthera drift` and
`panthera monitor` do: PSI by column with its limit, the rules of a round, and the classifier over all columns.

- `months`, `psi_false_alarm_rate`: months without a change, and the share in which any column has an alarm; at most 5 % are
  stated. `rounds_not_hold`: months in which a round decided anything but `hold`; stated is none.
- `classifier_false_alarm_rate`: the share in which the classifier shows a change; at most 1 % is stated.
- `correlation_delay_months`: months until the classifier shows a change of two columns' relation, which no column shows alone;
  `correlation_psi_alarms`: alarms of columns in that month.
- `constant_delay_rows`: a stream like Elec2, in which three columns are constant until a row: rows from there to the end of the
  first window that names all three; at most a window of 336 rows is stated. `constant_false_alarms`: earlier windows that name
  one of them. `dependent_alarm_rate`: earlier windows that name another column: half hours resemble one another, and the
  limit is that of independent rows, so a window of a week of them has false alarms.
- `accuracy`, `no_change_accuracy`: of a model of the stream after the change, and of predicting the label before.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from core.plan.plan import Decide
from core.reference import BinCounts, build_reference
from models.evaluation.domain_classifier import separate
from monitoring.drift import DriftResult, columns_drift
from monitoring.rounds.rules import Decision, Measured, PastRound, decide

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.reference import Reference
    from monitoring.drift import ColumnDrift

    Matrix = NDArray[np.float64]

_COLUMNS, _TRAINING_ROWS, _MONTH_ROWS, _ALARM = 12, 20_000, 1_400, 0.1
_CLASSIFIER_ROWS, _MISSING = 5_000, 0.05
_START, _MONTH = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=30)
#: Of the stream: half hours, the week of a window, the training rows, and the row from which the columns vary.
_STREAM, _WINDOW, _TRAINED, _CHANGE = 24_000, 336, 8_000, 17_760
_CONSTANT = ("transfer", "vicdemand", "vicprice")


def month(rng: np.random.Generator, rows: int, correlation: float = 0.0) -> Matrix:
    """Draw numbers of several shapes; the first two are normal with this correlation, and every third column has gaps."""
    first, second = rng.normal(size=(2, rows))
    columns = [first, correlation * first + np.sqrt(1 - correlation**2) * second]
    for number in range(_COLUMNS - 2):
        values = (rng.gamma(2.0, 10.0, rows), rng.poisson(0.5, rows).astype(float), rng.normal(size=rows))[number % 3]
        columns.append(np.where((number % 3 == 0) & (rng.random(rows) < _MISSING), np.nan, values))
    return np.stack(columns, axis=1)


def reference_of(rows: Matrix, names: list[str]) -> Reference:
    """Return the bins of training rows."""
    return build_reference(pa.table({name: pa.array(rows[:, i], from_pandas=True) for i, name in enumerate(names)}))


def drift_of(reference: Reference, rows: Matrix) -> tuple[ColumnDrift, ...]:
    """Return the drift of each column, counted as the log is."""
    counts = {}
    for index, column in enumerate(reference.columns):
        present = rows[~np.isnan(rows[:, index]), index]
        bins = np.searchsorted(np.asarray(column.edges), present, side="right")
        regular = tuple(np.bincount(bins, minlength=len(column.edges) + 1).tolist())
        counts[column.name] = BinCounts(regular, 0, len(rows) - len(present))
    return columns_drift(reference, counts, _ALARM, {})


def without_change(months: int, seed: int = 1) -> dict[str, float]:
    """Return the rates of false alarms over months from the distribution of the training rows."""
    rng = np.random.default_rng(seed)
    training, names = month(rng, _TRAINING_ROWS), [f"v__{number}" for number in range(_COLUMNS)]
    reference, past = reference_of(training, names), list[PastRound]()
    weights = dict.fromkeys(names, 1 / _COLUMNS)
    psi = classifier = decided = 0
    for number in range(months):
        served, as_of = month(rng, _MONTH_ROWS), _START + number * _MONTH
        result = DriftResult("r1", None, as_of, drift_of(reference, served))
        decision = decide(
            Measured("r1", None, None, False, None, result, None, None, {}, weights), past, Decide(), as_of
        )
        past.insert(0, PastRound("r1", as_of, decision.decision, decision.has_drift))
        # Other training rows each month: the false alarms of months against the same ones are not independent.
        separation = separate(month(rng, _CLASSIFIER_ROWS), served, number)
        psi += bool(result.alarms)
        decided += decision.decision is not Decision.HOLD
        classifier += separation is not None and separation.is_shown
    rates = {"psi_false_alarm_rate": psi / months, "classifier_false_alarm_rate": classifier / months}
    return {"months": months, **rates, "rounds_not_hold": decided}


def changed_relation(seed: int = 2) -> dict[str, int]:
    """Return when the classifier shows two columns that became correlated, and the alarms of columns then."""
    rng = np.random.default_rng(seed)
    training = month(rng, _TRAINING_ROWS)
    reference = reference_of(training, [f"v__{number}" for number in range(_COLUMNS)])
    for number in range(1, 13):
        served = month(rng, _MONTH_ROWS, correlation=0.8)
        separation = separate(training[:_CLASSIFIER_ROWS], served)
        if separation and separation.is_shown:
            alarms = sum(column.alarm for column in drift_of(reference, served))
            return {"correlation_delay_months": number, "correlation_psi_alarms": alarms}
    return {"correlation_delay_months": -1, "correlation_psi_alarms": -1}


def stream(rng: np.random.Generator) -> tuple[list[str], Matrix, NDArray[np.bool_]]:
    """Return names, rows and labels of a stream like Elec2: demand and price by the hour, and three constant columns at first.

    The label, whether the price is above its mean of a day, is mostly that of the half hour before.
    """
    hour = 2 * np.pi * (np.arange(_STREAM) % 48) / 48
    noise = np.zeros(_STREAM)
    for row in range(1, _STREAM):
        noise[row] = 0.9 * noise[row - 1] + rng.normal(0, 0.3)
    demand = 0.5 + 0.2 * np.sin(hour) + rng.normal(0, 0.05, _STREAM)
    price = demand + 0.2 * noise
    mean = np.convolve(price, np.ones(48) / 48)[:_STREAM]
    constant = [
        np.where(np.arange(_STREAM) < _CHANGE, level, rng.normal(level, 0.1, _STREAM)) for level in (0.41, 0.42, 0.003)
    ]
    return ["demand", "price", *_CONSTANT], np.stack([demand, price, *constant], axis=1), price > mean


def constant_columns(seed: int = 3) -> dict[str, float]:
    """Return the delay in which the columns that began to vary are named, and the accuracies beside it."""
    names, rows, label = stream(np.random.default_rng(seed))
    reference = reference_of(rows[:_TRAINED], names)
    found = {
        end: {column.name for column in drift_of(reference, rows[end - _WINDOW : end]) if column.alarm}
        for end in range(_TRAINED + _WINDOW, _STREAM + 1, _WINDOW)
    }
    before = [alarms for end, alarms in found.items() if end <= _CHANGE]
    named = min((end for end, alarms in found.items() if alarms >= set(_CONSTANT)), default=2 * _STREAM)
    after = slice(_CHANGE, _STREAM)
    model = rows[:, 0] > np.median(rows[:_TRAINED, 0])
    return {
        "constant_delay_rows": named - _CHANGE,
        "constant_false_alarms": sum(bool(alarms & set(_CONSTANT)) for alarms in before),
        "dependent_alarm_rate": round(sum(bool(alarms - set(_CONSTANT)) for alarms in before) / len(before), 3),
        "accuracy": round(float((model == label)[after].mean()), 3),
        "no_change_accuracy": round(float((label[1:] == label[:-1])[_CHANGE - 1 :].mean()), 3),
    }


def main() -> None:
    """Simulate, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=200, help="months without a change")
    months = parser.parse_args().months
    print(json.dumps({**without_change(months), **changed_relation(), **constant_columns()}))


if __name__ == "__main__":
    main()
