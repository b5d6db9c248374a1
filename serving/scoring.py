"""Scores of one release; requests that come at once share one call of its model, whose overhead is most of its time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from core.batching import Batcher
from core.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import Value
    from models.bundle import Bundle


class Scorer:
    """The scores of one event loop for one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._batches: Batcher[Sequence[Sequence[Value]], list[float]] = Batcher(self._score)

    async def score(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        """Score vectors in the contract's order.

        Raises
        ------
        BundleError
            If the model cannot, or gives something that is not a finite number.

        """
        return await self._batches.submit(vectors)

    async def _score(self, batch: Sequence[Sequence[Sequence[Value]]]) -> list[list[float]]:
        scores = iter(self._bundle.score([vector for vectors in batch for vector in vectors]))
        return [[_finite(next(scores)) for _ in vectors] for vectors in batch]


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise BundleError(f"a model gave the score {score}, which is no number; promote another release")
    return score
