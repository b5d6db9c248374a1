"""What the stage `evaluate` found of each candidate, as the file `data/evaluation.json` keeps it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from core.calibration import Calibration
from core.errors import StaleStateError
from core.files import require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from core.plan.evaluate import Metric

FORMAT_VERSION = 2


@dataclass(frozen=True)
class CandidateResult:
    """What was measured of one candidate.

    Attributes
    ----------
    validation, test : each metric of the plan on the rows that choose, and on the later ones that only tell; a metric that
        the rows do not define is left out.
    threshold : the least score, after calibration, that is decided as 1; NaN where the plan names none.
    test_lower, test_upper : the interval of each test metric that has one, from draws of entities.
    calibration : from the model's score to the one that is measured, decided on and served.

    """

    candidate: str
    validation: dict[str, float]
    test: dict[str, float]
    threshold: float
    test_lower: dict[str, float] = field(default_factory=dict)
    test_upper: dict[str, float] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True)
class Evaluation:
    """All candidates, the best by the primary metric on the validation rows first."""

    primary: Metric
    baseline: str
    results: tuple[CandidateResult, ...]

    def result(self, candidate: str) -> CandidateResult:
        """Give the result of one candidate."""
        return next(result for result in self.results if result.candidate == candidate)

    def to_json(self) -> str:
        """Write the evaluation as `read_evaluation` reads it."""
        content = {
            "format_version": FORMAT_VERSION,
            "primary": self.primary,
            "baseline": self.baseline,
            "candidates": [_stored(result) for result in self.results],
        }
        return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"

    def metrics(self) -> dict[str, dict[str, float]]:
        """Give the test metrics of each candidate, as `dvc metrics` shows and compares them."""
        return {result.candidate: result.test for result in self.results}


def _stored(result: CandidateResult) -> dict[str, Any]:
    return {**asdict(result), "threshold": None if math.isnan(result.threshold) else result.threshold}


def _result(stored: Mapping[str, Any]) -> CandidateResult:
    threshold = math.nan if stored["threshold"] is None else stored["threshold"]
    return CandidateResult(
        **{**stored, "threshold": threshold, "calibration": Calibration.from_dict(stored["calibration"])}
    )


def read_evaluation(path: Path) -> Evaluation:
    """Read what the stage wrote.

    Raises
    ------
    StaleStateError
        If it is absent, or of another format.

    """
    stored = json.loads(require(path, "evaluate").read_text())
    if stored.get("format_version") != FORMAT_VERSION:
        raise StaleStateError(f"{path} was written by another version of this software; run `dvc repro evaluate`")
    return Evaluation(stored["primary"], stored["baseline"], tuple(map(_result, stored["candidates"])))
