"""The explanation of one logged prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.json_text import plain
from core.terminal import terminal_table

if TYPE_CHECKING:
    from rich.table import Table

    from models.evaluation.explanations import Explanation
    from monitoring.logged_predictions import LoggedPrediction


@dataclass(frozen=True)
class ExplainedPrediction:
    """A logged prediction with the contribution of each feature, at its served value, to the raw score."""

    release_id: str
    logged: LoggedPrediction
    why: Explanation

    def to_dict(self) -> dict[str, object]:
        """Return the explanation as JSON types; the contributions are ordered by size, largest first."""
        return {
            "prediction_id": str(self.logged.prediction_id),
            "release_id": self.release_id,
            "as_of": plain(self.logged.as_of),
            "score": self.logged.score,
            "base": self.why.base,
            "raw_score": self.why.raw_score,
            "contributions": [
                {"feature": one.feature, "value": plain(one.value), "adds": one.adds} for one in self.why.contributions
            ],
        }

    def table(self) -> Table:
        """Return a terminal table of the contributions."""
        about = f"Prediction {self.logged.prediction_id} of {self.release_id}: score {self.logged.score:.4f}"
        table = terminal_table(
            "feature", "value", "adds", numbers=("adds",), title=about, caption="of the raw score, before calibration"
        )
        table.add_row("(base value)", "", f"{self.why.base:+.4f}")
        for one in self.why.contributions:
            table.add_row(one.feature, "missing" if one.value is None else str(plain(one.value)), f"{one.adds:+.4f}")
        table.add_row("(raw score)", "", f"{self.why.raw_score:+.4f}")
        return table
