"""The explanation of one logged prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.json_text import plain
from core.terminal import terminal_table

if TYPE_CHECKING:
    from rich.table import Table

    from core.prediction_interval import PredictionInterval
    from models.evaluation.explanations import Explanation
    from monitoring.logged_predictions import LoggedPrediction


@dataclass(frozen=True)
class ExplainedPrediction:
    """A logged prediction with the contribution of each feature, at its served value, to the raw score.

    Attributes
    ----------
    interval : of the release; a regression was answered with it around the score.

    """

    release_id: str
    logged: LoggedPrediction
    why: Explanation
    interval: PredictionInterval | None = None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The bounds of the interval that was served; None without one."""
        return self.interval.around(self.logged.score) if self.interval else None

    def to_dict(self) -> dict[str, object]:
        """Return the explanation as JSON types; the contributions are ordered by size, largest first."""
        return {
            "prediction_id": str(self.logged.prediction_id),
            "release_id": self.release_id,
            "as_of": plain(self.logged.as_of),
            "score": self.logged.score,
            **({"interval": dict(zip(("lower", "upper"), self.bounds, strict=True))} if self.bounds else {}),
            "base": self.why.base,
            "raw_score": self.why.raw_score,
            "contributions": [
                {"feature": one.feature, "value": plain(one.value), "adds": one.adds} for one in self.why.contributions
            ],
        }

    def table(self) -> Table:
        """Return a terminal table of the contributions."""
        around = f" ({self.bounds[0]:.4f} to {self.bounds[1]:.4f})" if self.bounds else ""
        about = f"Prediction {self.logged.prediction_id} of {self.release_id}: score {self.logged.score:.4f}{around}"
        table = terminal_table(
            "feature", "value", "adds", numbers=("adds",), title=about, caption="of the raw score, before calibration"
        )
        table.add_row("(base value)", "", f"{self.why.base:+.4f}")
        for one in self.why.contributions:
            table.add_row(one.feature, "missing" if one.value is None else str(plain(one.value)), f"{one.adds:+.4f}")
        table.add_row("(raw score)", "", f"{self.why.raw_score:+.4f}")
        return table
