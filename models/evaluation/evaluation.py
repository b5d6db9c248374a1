"""The metrics of all candidates, and their file `data/evaluation.json`, which the stage `evaluate` writes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from core.calibration import Calibration
from core.errors import StaleStateError
from core.files import require
from core.prediction_interval import PredictionInterval

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from core.plan.evaluate import Metric

FORMAT_VERSION = 2


@dataclass(frozen=True)
class CandidateResult:
    """The metrics, threshold and calibration of one candidate.

    Attributes
    ----------
    validation, test : each metric of the plan, by name. The validation rows select among candidates; the test rows do not.
        A metric that is undefined on the rows is left out.
    threshold : the least score, after calibration, that is decided as 1; NaN if the plan has none.
    test_lower, test_upper : the interval of each test metric that has one, by resampling entities.
    calibration : maps the model's score to the one that is measured, compared with the threshold and served.
    interval : the interval around each predicted number; None if the plan has none.

    """

    candidate: str
    validation: dict[str, float]
    test: dict[str, float]
    threshold: float
    test_lower: dict[str, float] = field(default_factory=dict)
    test_upper: dict[str, float] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)
    interval: PredictionInterval | None = None


@dataclass(frozen=True)
class Evaluation:
    """The results of all candidates, the best by the primary metric on the validation rows first."""

    primary: Metric
    baseline: str
    results: tuple[CandidateResult, ...]

    def result(self, candidate: str) -> CandidateResult:
        """Return the result of one candidate."""
        return next(result for result in self.results if result.candidate == candidate)

    def to_json(self) -> str:
        """Compose the JSON that `read_evaluation` reads."""
        content = {
            "format_version": FORMAT_VERSION,
            "primary": self.primary,
            "baseline": self.baseline,
            "candidates": [_stored(result) for result in self.results],
        }
        return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return the test metrics of each candidate, for `dvc metrics`."""
        return {result.candidate: result.test for result in self.results}


def _stored(result: CandidateResult) -> dict[str, Any]:
    return {**asdict(result), "threshold": None if math.isnan(result.threshold) else result.threshold}


def _result(stored: Mapping[str, Any]) -> CandidateResult:
    threshold = math.nan if stored["threshold"] is None else stored["threshold"]
    interval = PredictionInterval(**stored["interval"]) if stored.get("interval") else None
    calibration = Calibration.from_dict(stored["calibration"])
    return CandidateResult(**{**stored, "threshold": threshold, "calibration": calibration, "interval": interval})


def read_evaluation(path: Path) -> Evaluation:
    """Read the file that the stage `evaluate` wrote.

    Raises
    ------
    StaleStateError
        If the file is absent, or has another format version.

    """
    stored = json.loads(require(path, "evaluate").read_text())
    if stored.get("format_version") != FORMAT_VERSION:
        found = stored.get("format_version")
        raise StaleStateError(f"{path} has format version {found}, expected {FORMAT_VERSION}; run `dvc repro evaluate`")
    return Evaluation(stored["primary"], stored["baseline"], tuple(map(_result, stored["candidates"])))
