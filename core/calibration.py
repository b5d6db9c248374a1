"""Calibration: the curve that turns a model's score into a probability; fitted in `models`, stored in the contract."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from core.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind: TypeAlias = Literal["none", "sigmoid", "isotonic"]
#: Keeps the log-odds of a score finite.
_SMALLEST = 1e-15


@dataclass(frozen=True)
class Curve:
    """One curve from scores in [0, 1] to probabilities.

    Attributes
    ----------
    x, y : knots of an isotonic curve, x ascending: linear between them, constant outside; empty for a sigmoid.
    slope, intercept : of a sigmoid over the log-odds of the score: 1 / (1 + exp(-(slope logit(s) + intercept))).

    """

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map scores of any shape; NaN stays NaN."""
        if self.x:
            mapped: NDArray[np.float64] = np.interp(scores, self.x, self.y)
            return mapped
        return sigmoid(self.slope * log_odds(scores) + self.intercept)


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities: one curve for a binary problem, one a class for several, none for the identity."""

    kind: Kind = "none"
    curves: tuple[Curve, ...] = ()

    def apply(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the probabilities of `scores`, of shape (rows,), or (rows, classes) where each row then sums to 1.

        The scores are not changed. Without calibration they are given back as they are.

        Raises
        ------
        ValueError
            If the scores have another number of classes than there are curves.

        """
        if self.kind == "none":
            return scores
        if scores.ndim == 1 and len(self.curves) == 1:
            return self.curves[0].apply(scores)
        if scores.ndim == 1 or scores.shape[1] != len(self.curves):
            raise ValueError(f"scores of shape {scores.shape} do not fit a calibration of {len(self.curves)} curves")
        columns = [curve.apply(scores[:, place]) for place, curve in enumerate(self.curves)]
        return _rows_to_one(np.column_stack(columns))

    def to_json(self) -> str:
        """Write the calibration as plain numbers, as `from_json` reads it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Calibration:
        """Read what `to_json` wrote; see `from_dict`."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Calibration:
        """Read the dictionary that `dataclasses.asdict` gives of a calibration.

        Raises
        ------
        BundleError
            If it is none: an unknown kind or key, or knots that no curve can have.

        """
        try:
            curves = tuple(
                Curve(tuple(curve["x"]), tuple(curve["y"]), float(curve["slope"]), float(curve["intercept"]))
                for curve in stored["curves"]
            )
            kind = stored["kind"]
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the calibration cannot be read: {type(error).__name__} {error}; train again") from None
        if kind not in {"none", "sigmoid", "isotonic"} or not all(map(_is_sound, curves)):
            raise BundleError(f"the calibration of kind {kind!r} is unknown or has knots out of order; train again")
        return cls(kind, curves)


def _is_sound(curve: Curve) -> bool:
    numbers = np.asarray([*curve.x, *curve.y, curve.slope, curve.intercept], dtype=np.float64)
    return len(curve.x) == len(curve.y) and bool(np.isfinite(numbers).all() and (np.diff(curve.x) > 0).all())


def _rows_to_one(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows to the sum 1; where every class got 0, all are equally likely."""
    total = probabilities.sum(axis=1, keepdims=True)
    even = np.full_like(probabilities, 1 / probabilities.shape[1])
    scaled: NDArray[np.float64] = np.divide(probabilities, total, out=even, where=total != 0)
    return scaled


def log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give ln(s / (1 - s)), with scores kept 1e-15 away from 0 and 1."""
    inside = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    odds: NDArray[np.float64] = np.log(inside) - np.log1p(-inside)
    return odds


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give 1 / (1 + exp(-v)), without overflow."""
    mapped: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * values))
    return mapped
