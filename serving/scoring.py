"""Batched scoring with one release: concurrent requests share one call of the model, whose time is mostly overhead."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, NamedTuple

from core.batching import Batcher
from core.errors import BundleError
from serving.signals.model_measure import Measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from core.contracts import Value
    from models.bundles.bundle import Bundle


_MOST_REASONS = 5


class Scored(NamedTuple):
    """The output of a model for one vector.

    Attributes
    ----------
    score : probability of class 1, a number, or the probability of `chosen`.
    chosen : most probable class of a multiclass problem.
    probabilities : of each class of a multiclass problem.

    """

    score: float
    chosen: str | None = None
    probabilities: Mapping[str, float] | None = None


class Reason(NamedTuple):
    """A feature with its value and its contribution to the raw score of the model, before any calibration."""

    feature: str
    value: Value
    contribution: float


class Scorer:
    """The batched scorer of one bundle in one event loop."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.measure = Measure()
        self._batches: Batcher[Sequence[Sequence[Value]], list[Scored]] = Batcher(self._score)

    @property
    def waiting(self) -> int:
        """The number of calls that wait for the next batch."""
        return self._batches.waiting

    async def score(self, vectors: Sequence[Sequence[Value]]) -> list[Scored]:
        """Return the scores of vectors that conform to the contract, see `Bundle.fault`.

        Raises
        ------
        BundleError
            If the model fails, or a score is not finite.

        """
        return await self._batches.submit(vectors)

    async def reasons(self, vectors: Sequence[Sequence[Value]]) -> list[list[Reason] | None]:
        """Return the features with the largest contributions to each score; None if the model cannot state them exactly."""
        return await asyncio.to_thread(self._reasons, vectors)

    def _reasons(self, vectors: Sequence[Sequence[Value]]) -> list[list[Reason] | None]:
        found = self._bundle.contributions(vectors)
        if found is None:
            return [None] * len(vectors)
        names = [f"{feature.view}.{feature.name}" for feature in self._bundle.contract.features]
        return [_largest(names, vector, outputs) for vector, outputs in zip(vectors, found, strict=True)]

    async def _score(self, batch: Sequence[Sequence[Sequence[Value]]]) -> list[list[Scored]]:
        vectors = [vector for part in batch for vector in part]
        with self.measure.measured():
            scored = iter(self._all(vectors))
        return [[next(scored) for _ in part] for part in batch]

    def _all(self, vectors: Sequence[Sequence[Value]]) -> list[Scored]:
        classes = self._bundle.contract.classes
        if not classes:
            return [Scored(_finite(score)) for score in self._bundle.score_conforming(vectors)]
        return [_of_classes(classes, row) for row in self._bundle.outputs_conforming(vectors).tolist()]


def _largest(names: Sequence[str], vector: Sequence[Value], outputs: NDArray[np.float64]) -> list[Reason]:
    """Return the largest contributions to the raw score, of the likeliest class if there are several."""
    adds = outputs[int(outputs.sum(axis=1).argmax()), :-1].tolist()
    reasons = [Reason(*one) for one in zip(names, vector, adds, strict=True)]
    return sorted(reasons, key=lambda reason: -abs(reason.contribution))[:_MOST_REASONS]


def _of_classes(classes: Sequence[str], row: Sequence[float]) -> Scored:
    probabilities = dict(zip(classes, map(_finite, row), strict=True))
    chosen = max(probabilities, key=probabilities.__getitem__)
    return Scored(probabilities[chosen], chosen, probabilities)


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise BundleError(f"a model returned the score {score}; expected a finite number; promote another release")
    return score
