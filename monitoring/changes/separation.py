"""How well served vectors can be told from training rows by all columns together: one number beside those of the columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.evaluation.domain_classifier import FALSE_ALARM_RATE, MINIMUM_ROWS, SeparationTest, separate
from models.scoring.columns import evenly_spaced
from models.scoring.encoding import encode, encode_table
from monitoring.changes.cost import cost_of_change
from monitoring.changes.served_bins import SCORE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature, Value
    from core.plan.evaluate import Money
    from models.bundles.bundle import BundleFacts
    from models.evaluation.domain_classifier import Separation
    from monitoring.changes.cost import ChangeCost

#: The largest number of rows of each side, which takes a second of one processor.
ROWS = 5_000
_NAMED = 3


@dataclass(frozen=True)
class ServedSeparation(SeparationTest):
    """The test of a classifier that tells served vectors from training rows, out of fold, without columns that must move.

    Attributes
    ----------
    columns : the columns by which they are told apart, with their shares, the largest first.
    left_out : columns that the plan expects to move.
    cost : what the change is expected to cost; None if no change is shown, or the plan has no money that is alike for all rows.

    """

    rows_reference: int
    rows_current: int
    columns: Mapping[str, float]
    left_out: tuple[str, ...]
    cost: ChangeCost | None = None

    @property
    def sentence(self) -> str:
        """One sentence with the AUC, its interval and the false-alarm rate of its limit."""
        found = f"AUC {self.auc:.3f} ({self.lower:.3f} to {self.upper:.3f})"
        if not self.is_shown:
            return f"all columns together: no change is shown, {found}, limit {self.limit:.3f}"
        names = ", ".join(list(self.columns)[:_NAMED])
        return (
            f"all columns together: served rows are told from training rows, {found}, limit {self.limit:.3f} "
            f"(false alarms {FALSE_ALARM_RATE:.0%}), by {names}{f'; {self.cost.sentence}' if self.cost else ''}"
        )


def separate_served(
    facts: BundleFacts, vectors: Sequence[Sequence[Value]], expected: Mapping[str, str], money: Money | None = None
) -> ServedSeparation | None:
    """Return the separation of served vectors, in the contract's order, from the bundle's sample of training rows.

    With the plan's `money`, a change that is shown has a cost. None if one side has fewer than 200 rows, or every column is
    text or expected to move.
    """
    features = facts.contract.features
    kept = [
        index for index, feature in enumerate(features) if feature.dtype != "text" and not expected.get(feature.column)
    ]
    if not kept or len(vectors) < MINIMUM_ROWS:
        return None
    chosen, sample = [features[index] for index in kept], _training_rows(facts)
    reference = encode_table(sample, chosen).matrix
    found = separate(reference, encode(vectors, features).matrix[:, kept])
    if found is None:
        return None
    shares = {features[kept[each]].column: float(found.importance[each]) for each in np.argsort(-found.importance)}
    return ServedSeparation(
        found.auc,
        found.lower,
        found.upper,
        found.limit,
        len(reference),
        len(vectors),
        {name: share for name, share in shares.items() if share > 0},
        tuple(feature.column for feature in features if expected.get(feature.column)),
        _cost(facts, sample, chosen, found, money) if money and found.is_shown else None,
    )


def _training_rows(facts: BundleFacts) -> pa.Table:
    sample = pq.read_table(pa.BufferReader(facts.sample))
    return sample.take(evenly_spaced(len(sample), ROWS))


def _cost(
    facts: BundleFacts, sample: pa.Table, features: Sequence[ContractFeature], found: Separation, money: Money
) -> ChangeCost | None:
    """Return the cost of a change by the expected profit of the training rows; None if no outcome or amount tells it."""
    reference, earned = facts.contract.score_reference, (money.earned_of_lost, money.earned_of_staying)
    if reference is None or not np.isfinite(earned).all():
        return None
    score = sample.column(SCORE).to_numpy()
    probability = reference.probabilities(score)
    profit = np.where(score >= facts.contract.threshold, probability * earned[0] + (1 - probability) * earned[1], 0.0)
    return cost_of_change(profit, found.odds, _segments(facts, sample, features))


def _segments(
    facts: BundleFacts, sample: pa.Table, features: Sequence[ContractFeature]
) -> dict[str, NDArray[np.bool_]]:
    """Return the rows of each bin of the columns, by the bins of `panthera drift`."""
    bins = {column.name: column for column in facts.reference.columns}
    segments = {}
    for feature in features:
        column, values = bins[feature.column], encode_table(sample, [feature]).matrix[:, 0]
        segments[f"{feature.column} missing"] = np.isnan(values)
        if column.kind == "levels":
            texts = np.asarray(sample.column(feature.column).cast(pa.string()).to_pylist(), dtype=object)
            segments |= {f"{feature.column} = {level}": texts == level for level in column.levels}
            continue
        place = np.where(np.isnan(values), -1, np.searchsorted(np.asarray(column.edges), values, side="right"))
        ends = ["", *(f"{edge:g}" for edge in column.edges), ""]
        segments |= {
            f"{feature.column} from {ends[index] or 'the lowest'} to {ends[index + 1] or 'the highest'}": place == index
            for index in range(len(column.edges) + 1)
        }
    return segments
