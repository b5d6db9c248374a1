"""Metrics that are estimated before outcomes are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.measures.metrics import Observed, metric_value
from models.measures.score_reference import fit_score_reference
from monitoring.cbpe import Simulation, estimate_metrics
from tests.monitoring.simulated_scores import reference_of, relation, shifted_scores

#: NannyML's tutorial "Estimating Standard Performance Metrics for Binary Classification", chunks of 5,000 rows.
PUBLISHED_ROC_AUC = [0.970744, 0.971011, 0.971407, 0.971091, 0.971123, 0.961090, 0.961825, 0.961073, 0.962533, 0.961316]
PUBLISHED_ACCURACY = [0.941792, 0.943321, 0.945492, 0.944816, 0.944645]
#: The data set's `y_pred` is 1 from this score on.
CAR_LOAN_THRESHOLD = 0.65


def test_the_published_table_of_the_car_loan_data_is_reproduced() -> None:
    counts = json.loads((Path(__file__).parent / "data" / "car_loan.json").read_text())
    levels = np.arange(101) / 100
    negatives, positives = counts["reference"]["negatives"], counts["reference"]["positives"]
    score = np.concatenate([np.repeat(levels, negatives), np.repeat(levels, positives)])
    label = np.repeat([0, 1], [sum(negatives), sum(positives)])
    reference = fit_score_reference(score, label, len(score))
    assert reference is not None
    few = Simulation(repeats=2)
    found = [
        estimate_metrics(np.repeat(levels, chunk), reference, CAR_LOAN_THRESHOLD, simulation=few)
        for chunk in counts["chunks"]
    ]
    assert [one["roc_auc"].value for one in found] == pytest.approx(PUBLISHED_ROC_AUC, abs=1e-5)
    assert [one["accuracy"].value for one in found[:5]] == pytest.approx(PUBLISHED_ACCURACY, abs=1e-5)


def test_estimates_are_the_sums_of_the_probabilities() -> None:
    # Two blocks: of scores 0.2, one outcome in four is positive; of scores 0.8, three in four.
    reference = fit_score_reference(np.repeat([0.2, 0.8], 4), np.array([0, 0, 0, 1, 0, 1, 1, 1]), 8)
    assert reference is not None
    found = estimate_metrics(np.array([0.2, 0.2, 0.8]), reference, 0.5, earned=(10.0, -1.0))
    assert found["positives"].value == pytest.approx(0.25 + 0.25 + 0.75)
    assert found["accuracy"].value == pytest.approx((0.75 + 0.75 + 0.75) / 3)
    assert found["precision"].value == pytest.approx(0.75)
    assert found["recall"].value == pytest.approx(0.75 / 1.25)
    assert found["profit"].value == pytest.approx(1000 * (0.75 * 10 - 0.25) / 3)
    # Pairs: 0.8 before 0.2 with weight 0.75 x 1.5, ties within 0.2 (0.5 x 1.5) and 0.8 (0.75 x 0.25) by half.
    assert found["roc_auc"].value == pytest.approx((1.125 + 0.375 + 0.09375) / (1.25 * 1.75))
    # The log loss of the scores: 0.2 gives -ln 0.2 with p and -ln 0.8 with 1 - p, 0.8 the other way round.
    log_loss = (0.5 + 0.25) * -np.log(0.2) + (1.5 + 0.75) * -np.log(0.8)
    assert found["log_loss"].value == pytest.approx(log_loss / 3)


def test_without_rows_or_a_threshold_what_needs_them_is_undefined() -> None:
    reference = reference_of(np.random.default_rng(1), 500)
    assert np.isnan(estimate_metrics(np.empty(0), reference, 0.5)["roc_auc"].value)
    found = estimate_metrics(np.array([0.1, 0.9]), reference, np.nan)
    assert np.isnan(found["accuracy"].value)
    assert np.isfinite(found["roc_auc"].value)


def test_rows_of_one_outcome_are_no_reference() -> None:
    assert fit_score_reference(np.array([0.1, 0.2]), np.array([1, 1]), 2) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    reference = reference_of(np.random.default_rng(1), 500)
    score = shifted_scores(np.random.default_rng(2), 300)
    once, again = (estimate_metrics(score, reference, 0.5, (10.0, -1.0)) for _ in range(2))
    assert once == again


def test_under_covariate_shift_the_interval_holds_the_realised_metric_as_often_as_it_says() -> None:
    """100 histories: a new reference, a shifted cohort, outcomes by the true relation; 95 % of the intervals hold them."""
    held = {"roc_auc": 0, "accuracy": 0, "log_loss": 0}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        reference, score = reference_of(rng, 2000), shifted_scores(rng, 300)
        label = (rng.random(300) < relation(score)).astype(np.int32)
        found = estimate_metrics(score, reference, 0.5, simulation=Simulation(repeats=200, seed=seed))
        rows = Observed("binary", label, score, np.arange(300), threshold=0.5)
        for name in held:
            value = metric_value(name, rows)  # type: ignore[arg-type]
            held[name] += found[name].lower <= value <= found[name].upper
    # Binomial(100, 0.95) is below 89 with a probability of 0.4 %.
    assert min(held.values()) >= 89, held
