"""How well served vectors can be told from training rows by all columns together: one number beside those of the columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.evaluation.domain_classifier import FALSE_ALARM_RATE, MINIMUM_ROWS, separate
from models.scoring.columns import evenly_spaced
from models.scoring.encoding import encode, encode_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature, Value
    from models.bundles.bundle import BundleFacts

#: The largest number of rows of each side, which takes a second of one processor.
ROWS = 5_000
_NAMED = 3


@dataclass(frozen=True)
class ServedSeparation:
    """The AUC of a classifier that tells served vectors from training rows, out of fold, without columns that must move.

    Attributes
    ----------
    auc : 0.5 if they cannot be told apart.
    lower, upper : its interval at 95 %.
    limit : the AUC that is exceeded with a probability of 1 % without a change.
    columns : the columns by which they are told apart, with their shares, the largest first.
    left_out : columns that the plan expects to move.

    """

    auc: float
    lower: float
    upper: float
    limit: float
    rows_reference: int
    rows_current: int
    columns: Mapping[str, float]
    left_out: tuple[str, ...]

    @property
    def is_shown(self) -> bool:
        """Whether the AUC exceeds its limit."""
        return self.auc > self.limit

    @property
    def sentence(self) -> str:
        """One sentence with the AUC, its interval and the false-alarm rate of its limit."""
        found = f"AUC {self.auc:.3f} ({self.lower:.3f} to {self.upper:.3f})"
        if not self.is_shown:
            return f"all columns together: no change is shown, {found}, limit {self.limit:.3f}"
        names = ", ".join(list(self.columns)[:_NAMED])
        return (
            f"all columns together: served rows are told from training rows, {found}, limit {self.limit:.3f} "
            f"(false alarms {FALSE_ALARM_RATE:.0%}), by {names}"
        )


def separate_served(
    facts: BundleFacts, vectors: Sequence[Sequence[Value]], expected: Mapping[str, str]
) -> ServedSeparation | None:
    """Return the separation of served vectors, in the contract's order, from the bundle's sample of training rows.

    None if one side has fewer than 200 rows, or every column is text or expected to move.
    """
    features = facts.contract.features
    kept = [
        index for index, feature in enumerate(features) if feature.dtype != "text" and not expected.get(feature.column)
    ]
    if not kept or len(vectors) < MINIMUM_ROWS:
        return None
    reference = _training_rows(facts, [features[index] for index in kept])
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
    )


def _training_rows(facts: BundleFacts, features: Sequence[ContractFeature]) -> NDArray[np.float64]:
    sample = pq.read_table(pa.BufferReader(facts.sample))
    return encode_table(sample.take(evenly_spaced(len(sample), ROWS)), features).matrix
