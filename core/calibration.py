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
#: Distance from 0 and 1 to which scores are clipped, so that their log-odds are finite.
_EPSILON = 1e-15


@dataclass(frozen=True)
class Curve:
    """A calibration curve from scores in [0, 1] to probabilities.

    Attributes
    ----------
    x, y : knots of an isotonic curve, x ascending: linear between them, constant outside; empty for a sigmoid.
    slope, intercept : parameters of a sigmoid on the log-odds of the score s: 1 / (1 + exp(-(slope logit(s) + intercept))).

    """

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities of scores of any shape; NaN stays NaN."""
        if self.x:
            mapped: NDArray[np.float64] = np.interp(scores, self.x, self.y)
            return mapped
        return sigmoid(self.slope * log_odds(scores) + self.intercept)


@dataclass(frozen=True)
class Calibration:
    """The curves that map scores to probabilities: one for a binary problem, one per class for a multiclass problem.

    Without curves (kind "none") the calibration is the identity.
    """

    kind: Kind = "none"
    curves: tuple[Curve, ...] = ()

    def apply(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities of `scores`, of shape (rows,) or (rows, classes); rows of classes are scaled to sum to 1.

        `scores` is not modified. Without calibration, `scores` itself is returned.

        Raises
        ------
        ValueError
            If the number of classes differs from the number of curves.

        """
        if self.kind == "none":
            return scores
        if scores.ndim == 1 and len(self.curves) == 1:
            return self.curves[0].apply(scores)
        if scores.ndim == 1 or scores.shape[1] != len(self.curves):
            raise ValueError(f"scores of shape {scores.shape} do not fit a calibration of {len(self.curves)} curves")
        columns = [curve.apply(scores[:, index]) for index, curve in enumerate(self.curves)]
        return _rows_to_one(np.column_stack(columns))

    def to_json(self) -> str:
        """Return the calibration as JSON of plain numbers; `from_json` is the inverse."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Calibration:
        """Parse the JSON of `to_json`; see `from_dict` for the errors raised."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Calibration:
        """Return the calibration whose `dataclasses.asdict` is `stored`.

        Raises
        ------
        BundleError
            If `stored` has an unknown kind, lacks a key, or its knots are not finite and ascending.

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


@dataclass(frozen=True)
class ScoreReference:
    """Outcomes of labelled rows that the model was not fitted on, in blocks of ascending scores of equal probability.

    The blocks are those of an isotonic regression of the outcome on the score, so the probability ascends with the score.

    Attributes
    ----------
    lower, upper : the lowest and the highest score of the rows of each block.
    rows, positives : the (weighted) numbers of rows and of rows with outcome 1 in each block.
    entities : number of entities; rows of one entity are not independent.

    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    rows: tuple[float, ...]
    positives: tuple[float, ...]
    entities: int

    @property
    def independent_rows(self) -> NDArray[np.float64]:
        """The number of rows of each block, scaled so that they add up to the number of entities."""
        rows = np.asarray(self.rows)
        scaled: NDArray[np.float64] = rows * min(1.0, self.entities / rows.sum())
        return scaled

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return P(outcome = 1 | score): constant in a block, linear between blocks, never exactly 0 or 1.

        The bounds are [1/(n + 2), (n + 1)/(n + 2)] for n rows (Laplace's rule of succession).
        """
        share = np.asarray(self.positives) / np.asarray(self.rows)
        margin = 1 / (sum(self.rows) + 2)
        knots = np.column_stack([self.lower, self.upper]).ravel()
        mapped: NDArray[np.float64] = np.interp(scores, knots, np.repeat(share, 2).clip(margin, 1 - margin))
        return mapped

    def block_of(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the index of the block of each score; a score between two blocks belongs to the upper one."""
        found = np.searchsorted(np.asarray(self.upper), scores, side="left")
        return np.minimum(found, len(self.upper) - 1)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> ScoreReference:
        """Return the reference whose `dataclasses.asdict` is `stored`."""
        blocks = {name: tuple(map(float, stored[name])) for name in ("lower", "upper", "rows", "positives")}
        return cls(**blocks, entities=int(stored["entities"]))


def _is_sound(curve: Curve) -> bool:
    numbers = np.asarray([*curve.x, *curve.y, curve.slope, curve.intercept], dtype=np.float64)
    return len(curve.x) == len(curve.y) and bool(np.isfinite(numbers).all() and (np.diff(curve.x) > 0).all())


def _rows_to_one(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows scaled to sum to 1; a row of zeros becomes uniform."""
    total = probabilities.sum(axis=1, keepdims=True)
    uniform = np.full_like(probabilities, 1 / probabilities.shape[1])
    scaled: NDArray[np.float64] = np.divide(probabilities, total, out=uniform, where=total != 0)
    return scaled


def log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln(s / (1 - s)), with scores clipped to [1e-15, 1 - 1e-15]."""
    clipped = np.clip(scores, _EPSILON, 1 - _EPSILON)
    odds: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return odds


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-v)), computed by tanh so that it cannot overflow."""
    mapped: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * values))
    return mapped
