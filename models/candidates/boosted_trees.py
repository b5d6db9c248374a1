"""The values that fitting boosted trees takes and returns, for all three libraries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from core.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from models.data.rows import Labels
    from models.scoring.columns import Columns

#: Takes a round and the validation loss after it; returns whether to stop the trial.
PruneCallback: TypeAlias = "Callable[[int, float], bool]"


class TrialPruned(Exception):  # noqa: N818 - not an error: the search stops an unpromising trial
    """Fitting stopped because the prune callback asked for it."""


@dataclass(frozen=True)
class PreparedRows:
    """Prepared columns of one part of the split, with labels of shape (rows,), and weights or None."""

    columns: Columns
    label: Labels
    weights: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class BoostingData:
    """The library's datasets for fitting and for early stopping; several fits can share them."""

    fitting: Any
    checking: Any


@dataclass(frozen=True)
class FittedTrees:
    """Fitted trees.

    Attributes
    ----------
    content : the trees in the library's own format, `model_format`.
    rounds : the number of rounds after early stopping.
    loss : log loss, or RMSE, on the validation rows after these rounds.

    """

    model_format: str
    content: bytes
    rounds: int
    loss: float


def params_error(library: str, error: Exception) -> PlanError:
    """Return the error for parameters that `library` refuses, with the first line of its message."""
    reason = next(line.strip() for line in str(error).splitlines() if line.strip())
    return PlanError(f"{library} refuses the candidate's params: {reason}")
