"""Batched scoring with one release: concurrent requests share one call of the model, whose time is mostly overhead."""

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
    """The output of a model for one vector: the score and, for a multiclass problem, the most probable class it belongs to."""

    score: float
    chosen: str | None = None


class Scorer:
    """The batched scorer of one bundle in one event loop."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._batches: Batcher[Sequence[Sequence[Value]], list[Scored]] = Batcher(self._score)

    async def score(self, vectors: Sequence[Sequence[Value]]) -> list[Scored]:
        """Return the scores of vectors whose values are in the contract's order.

        Raises
        ------
        BundleError
            If the model fails, or a score is not finite.

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
        return [Scored(_finite(float(row[index])), classes[index]) for row, index in zip(outputs, best, strict=True)]


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise BundleError(f"a model returned the score {score}; expected a finite number; promote another release")
    return score
