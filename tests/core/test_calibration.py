"""A calibration applies its numbers, and travels as plain JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from core.calibration import Calibration, Curve
from core.errors import BundleError

STEPS = Calibration("isotonic", (Curve((0.2, 0.4, 0.8), (0.1, 0.5, 0.5)),))


def test_without_calibration_a_score_is_what_it_was() -> None:
    scores = np.array([0.0, 0.3, 1.0])
    assert Calibration().apply(scores) is scores


def test_an_isotonic_curve_is_linear_between_its_knots_and_constant_outside() -> None:
    found = STEPS.apply(np.array([0.0, 0.2, 0.3, 0.4, 0.6, 1.0]))
    assert found.tolist() == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.5, 0.5])


def test_a_sigmoid_moves_the_log_odds() -> None:
    # log-odds of 0.8 are ln 4; twice that less ln 2 is ln 8, the log-odds of 8/9.
    curve = Curve(slope=2.0, intercept=-float(np.log(2)))
    assert Calibration("sigmoid", (curve,)).apply(np.array([0.8]))[0] == pytest.approx(8 / 9)


def test_a_sigmoid_takes_the_ends() -> None:
    found = Calibration("sigmoid", (Curve(slope=3.0),)).apply(np.array([0.0, 1.0]))
    assert found.tolist() == pytest.approx([0, 1], abs=1e-12)


def test_classes_are_calibrated_one_by_one_and_sum_to_one() -> None:
    half = Curve((0.0, 1.0), (0.0, 0.5))
    same = Curve((0.0, 1.0), (0.0, 1.0))
    found = Calibration("isotonic", (half, same)).apply(np.array([[0.5, 0.5], [0.0, 0.0]]))
    assert found.tolist() == [pytest.approx([1 / 3, 2 / 3]), [0.5, 0.5]]


def test_scores_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 3\) do not fit a calibration of 1 curves"):
        STEPS.apply(np.zeros((1, 3)))


def test_what_is_no_number_stays_none() -> None:
    assert np.isnan(STEPS.apply(np.array([np.nan]))[0])


@pytest.mark.parametrize("calibration", [Calibration(), STEPS, Calibration("sigmoid", (Curve(slope=1 / 3),))])
def test_it_comes_back_from_json_as_it_was(calibration: Calibration) -> None:
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "spline"},
        {"curves": [{"x": [0.1]}]},
        {"curves": [{"x": [0.2, 0.1], "y": [0.1, 0.2], "slope": 1, "intercept": 0}]},
        {"curves": [{"x": [0.1, 0.2], "y": [0.1, None], "slope": 1, "intercept": 0}]},
        {"curves": 3},
    ],
)
def test_another_thing_is_refused(change: dict[str, object]) -> None:
    stored = {**json.loads(json.dumps(asdict(STEPS))), **change}
    with pytest.raises(BundleError, match=r"the calibration .* train again"):
        Calibration.from_dict(stored)
