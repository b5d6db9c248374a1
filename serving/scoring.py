"""Scores of one release; requests that come at once share one call of its model, whose overhead is most of its time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.batching import Batcher
from core.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import Value
    from models.bundles.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of a vector: its score, and of a multiclass problem the most probable class, whose score it is."""

    score: float
    chosen: str | None = None


class Scorer:
    """The scores of one event loop for one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._batches: Batcher[Sequence[Sequence[Value]], list[Scored]] = Batcher(self._score)

    async def score(self, vectors: Sequence[Sequence[Value]]) -> list[Scored]:
        """Score vectors in the contract's order.

        Raises
        ------
        BundleError
            If the model cannot, or gives something that is not a finite number.

        """
        return await self._batches.submit(vectors)

    async def _score(self, batch: Sequence[Sequence[Sequence[Value]]]) -> list[list[Scored]]:
        scored = iter(self._all([vector for vectors in batch for vector in vectors]))
        return [[next(scored) for _ in vectors] for vectors in batch]

    def _all(self, vectors: Sequence[Sequence[Value]]) -> list[Scored]:
        classes = self._bundle.contract.classes
        if not classes:
            return [Scored(_finite(score)) for score in self._bundle.score(vectors)]
        outputs = self._bundle.outputs(vectors)
        best = outputs.argmax(axis=1)
        return [Scored(_finite(float(row[place])), classes[place]) for row, place in zip(outputs, best, strict=True)]


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise BundleError(f"a model gave the score {score}, which is no number; promote another release")
    return score
