"""What the gate lets through: a gain that is sure, no loss beyond the margins; shown on worlds whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from core.plan.register import Register
from core.prediction_interval import PredictionInterval
from models.measures.groups import Grouping
from models.measures.intervals import Resampling
from models.measures.metrics import Observed
from models.releases.gate import Contender, GroupRules, gate_checks, outcome_of, outcome_reason, row_microseconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.bundles.bundle import Bundle
    from models.releases.checks import Check

RESAMPLING = Resampling(repeats=200, confidence=0.95, seed=1)
SECTION = Register(model="churn", win="roc_auc", not_lose={"log_loss": 0.01})


def world(seed: int, entities: int = 400) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Give the true chance of each row (two an entity), and what happened."""
    chance = np.random.default_rng(seed)
    truth = np.repeat(chance.uniform(0.05, 0.95, entities), 2)
    return truth, (chance.random(2 * entities) < truth).astype(np.int32)


def contender(score: NDArray[np.float64], label: NDArray[np.int32], row_us: float = 5.0, size: int = 1000) -> Contender:
    entity = np.repeat(np.arange(len(label) // 2), 2)
    return Contender(Observed("binary", label, score, entity, 0.5), row_us, size)


def blurred(truth: NDArray[np.float64], seed: int, by: float) -> NDArray[np.float64]:
    """Give scores that are the worse the more they are blurred."""
    noise = np.random.default_rng(seed).normal(0, by, len(truth))
    return 1 / (1 + np.exp(-(np.log(truth / (1 - truth)) + noise)))


def checks(
    section: Register, one: NDArray[np.float64], other: NDArray[np.float64], label: NDArray[np.int32]
) -> list[Check]:
    return gate_checks(section, "roc_auc", contender(one, label), contender(other, label), RESAMPLING)


def test_a_release_that_is_better_wins_and_the_same_one_the_other_way_round_loses() -> None:
    truth, label = world(3)
    worse = blurred(truth, 4, 2.0)
    won, lost = checks(SECTION, truth, worse, label), checks(SECTION, worse, truth, label)
    assert (outcome_of(won), outcome_of(lost)) == ("won", "lost")
    assert [check.check for check in won] == ["wins roc_auc", "does not lose log_loss", "time of a row", "bundle size"]
    assert [check.gain for check in won[:2]] == pytest.approx([-(check.gain or 0) for check in lost[:2]])
    assert "wins roc_auc" in outcome_reason(won)
    assert "does not lose log_loss" in outcome_reason(lost)


def test_a_gain_is_positive_where_the_release_is_better_whichever_way_the_metric_counts() -> None:
    # Worked out by hand: areas 1 and 3/4, squared errors 0.04 and 0.16 on average over four rows alike in each.
    label = np.tile(np.array([1, 0, 1, 0], dtype=np.int32), 20)
    one = np.tile([0.8, 0.2, 0.8, 0.2], 20)
    other = np.tile([0.6, 0.4, 0.4, 0.4], 20)
    section = Register(model="churn", win="roc_auc", not_lose={"brier": 0.0})
    area, squares, *_ = checks(section, one, other, label)
    assert (area.challenger, area.champion, area.gain) == pytest.approx((1.0, 0.75, 0.25))
    assert (squares.challenger, squares.champion) == pytest.approx((0.04, (0.16 + 0.16 + 0.36 + 0.16) / 4))
    assert squares.gain == pytest.approx(0.21 - 0.04)


def test_a_release_whose_intervals_hold_fewer_labels_loses_and_one_without_intervals_cannot_be_compared() -> None:
    label = np.random.default_rng(1).normal(size=400)
    section = Register(model="sales", win="interval_score", not_lose={"coverage": 0.02})
    wide, narrow = PredictionInterval(0.9, -1.7, 1.7), PredictionInterval(0.9, -0.5, 0.5)

    def outcome(one: PredictionInterval, other: PredictionInterval | None) -> str:
        challenger, champion = (
            Contender(Observed("regression", label, np.zeros(400), np.arange(400), interval=interval), 5.0, 1000)
            for interval in (one, other)
        )
        return outcome_of(gate_checks(section, "rmse", challenger, champion, RESAMPLING))

    assert (outcome(wide, narrow), outcome(narrow, wide)) == ("won", "lost")
    assert outcome(wide, None) == "undecided"


def test_a_release_that_is_no_better_neither_wins_nor_loses() -> None:
    truth, label = world(3)
    found = checks(SECTION, truth, truth, label)
    assert outcome_of(found) == "undecided"
    assert [check.passed for check in found] == [False, True, True, True]


def test_a_better_order_does_not_make_up_for_worse_probabilities() -> None:
    truth, label = world(3)
    extreme = np.where(truth > 0.5, 1 - 1e-6 * (1 - truth), 1e-6 * truth)
    found = checks(SECTION, extreme, blurred(truth, 4, 1.5), label)
    assert found[0].passed
    assert found[1].failed
    assert outcome_of(found) == "lost"


def test_a_margin_says_how_much_worse_is_not_worse_and_how_much_better_is_better() -> None:
    truth, label = world(3)
    worse = blurred(truth, 4, 0.3)
    strict = replace_section(not_lose={"log_loss": 0.0})
    loose = replace_section(not_lose={"log_loss": 0.2})
    assert not checks(strict, worse, truth, label)[1].passed
    assert checks(loose, worse, truth, label)[1].passed
    gain = checks(SECTION, truth, blurred(truth, 4, 2.0), label)[0]
    assert gain.lower is not None
    for margin, passes in ((gain.lower - 0.001, True), (gain.lower + 0.001, False)):
        assert checks(replace_section(win_by=margin), truth, blurred(truth, 4, 2.0), label)[0].passed == passes


def replace_section(**changes: object) -> Register:
    return SECTION.model_copy(update=changes)


def test_without_a_metric_of_its_own_the_gate_takes_the_primary_one() -> None:
    truth, label = world(3)
    section = Register(model="churn")
    found = gate_checks(section, "brier", contender(truth, label), contender(truth, label), RESAMPLING)
    assert found[0].check == "wins brier"


def test_too_few_entities_give_no_interval_and_decide_nothing() -> None:
    truth, label = world(3, entities=20)
    found = checks(SECTION, truth, blurred(truth, 4, 3.0), label)
    assert outcome_of(found) == "undecided"
    assert (found[0].lower, found[0].passed, found[0].failed) == (None, False, False)
    assert "too few entities" in found[0].found
    json.dumps([check.to_dict() for check in found], allow_nan=False)


def test_a_release_that_is_too_slow_or_too_large_loses() -> None:
    truth, label = world(3)
    champion = contender(blurred(truth, 4, 2.0), label)
    section = replace_section(max_row_us=10.0, max_bundle_mb=1.0)
    fast, slow, large = (contender(truth, label, us, size) for us, size in ((9, 999), (11, 999), (9, 1_000_001)))
    assert outcome_of(gate_checks(section, "roc_auc", fast, champion, RESAMPLING)) == "won"
    for loser, words in ((slow, "at most 10 µs required"), (large, "at most 1 MB required")):
        found = gate_checks(section, "roc_auc", loser, champion, RESAMPLING)
        assert outcome_of(found) == "lost"
        assert words in outcome_reason(found)


def by_half(label: NDArray[np.int32]) -> Grouping:
    """Part the entities of a world in two: the second half is `b`."""
    return Grouping("half", ("a", "b"), (np.arange(len(label)) >= len(label) // 2).astype(np.int64))


def test_a_release_that_serves_one_part_worse_loses_although_it_wins_on_the_whole() -> None:
    truth, label = world(3, entities=1200)
    group = by_half(label)
    before = blurred(truth, 4, 2.0)
    mixed = np.where(group.part_index == 1, blurred(truth, 5, 12.0), truth)
    section = replace_section(not_lose={}, no_part_loses={"roc_auc": 0.01})
    sides = GroupRules([group])
    found = gate_checks(section, "roc_auc", contender(mixed, label), contender(before, label), RESAMPLING, sides)
    assert found[1].check == "no part loses roc_auc"
    assert found[1].failed
    assert "of 2 parts half: b is worst" in found[1].found
    better = gate_checks(section, "roc_auc", contender(truth, label), contender(before, label), RESAMPLING, sides)
    assert outcome_of(better) == "won"


def test_small_parts_do_not_stand_against_a_release() -> None:
    truth, label = world(3)
    place = np.zeros(len(label), np.int64)
    place[:40] = 1  # 20 entities
    section = replace_section(no_part_loses={"roc_auc": 0.0})
    worse = truth.copy()
    worse[:40] = 0.5
    sides = GroupRules([Grouping("size", ("large", "small"), place)])
    found = gate_checks(
        section, "roc_auc", contender(worse, label), contender(blurred(truth, 4, 2.0), label), RESAMPLING, sides
    )
    assert found[2].passed
    assert "of 1 parts size: large is worst" in found[2].found
    few_truth, few = world(3, entities=20)
    only = GroupRules([Grouping("size", ("small",), np.zeros(len(few), np.int64))])
    none = gate_checks(section, "roc_auc", contender(few_truth, few), contender(few_truth, few), RESAMPLING, only)[2]
    assert (none.passed, none.found) == (True, "no part has enough entities")


def test_decisions_that_fall_too_far_apart_are_refused() -> None:
    """Scores that are drawn up in one half and down in the other select it far more often; the true chances do not."""
    truth, label = world(3, entities=1200)
    group = by_half(label)
    apart = np.where(group.part_index == 1, 0.6, 0.4) + 0.3 * (truth - 0.5)
    sides = GroupRules([group], frozenset({"half"}), 0.2)
    found = gate_checks(SECTION, "roc_auc", contender(apart, label), contender(truth, label), RESAMPLING, sides)[2]
    assert (found.check, found.passed, found.failed) == ("gap of selection_rate in half", False, True)
    assert found.challenger is not None
    assert found.challenger > 0.5
    alike = gate_checks(SECTION, "roc_auc", contender(truth, label), contender(truth, label), RESAMPLING, sides)[2]
    assert alike.passed
    unasked = GroupRules([group], frozenset(), 0.2)
    names = [
        one.check
        for one in gate_checks(
            SECTION, "roc_auc", contender(apart, label), contender(truth, label), RESAMPLING, unasked
        )
    ]
    assert "gap of selection_rate in half" not in names


def test_probabilities_that_cannot_be_believed_are_refused() -> None:
    truth, label = world(3)
    extreme = truth**4 / (truth**4 + (1 - truth) ** 4)
    section = replace_section(not_lose={}, max_ece=0.08)
    for score, passed in ((truth, True), (extreme, False)):
        found = gate_checks(section, "roc_auc", contender(score, label), contender(truth, label), RESAMPLING)[1]
        assert (found.check, found.passed, found.failed) == ("calibration error", passed, not passed)


def test_what_was_found_in_groups_can_be_kept_by_the_ledger() -> None:
    truth, label = world(3, entities=40)
    sides = GroupRules([by_half(label)], frozenset({"half"}), 0.2)
    section = replace_section(no_part_loses={"roc_auc": 0.0}, max_ece=0.5)
    found = gate_checks(section, "roc_auc", contender(truth, label), contender(truth, label), RESAMPLING, sides)
    json.dumps([one.to_dict() for one in found], allow_nan=False)
    assert not next(one for one in found if one.check.startswith("gap")).failed


def test_other_rows_are_not_compared() -> None:
    truth, label = world(3)
    other = contender(truth, 1 - label)
    with pytest.raises(ValueError, match="not scored on the same rows"):
        gate_checks(SECTION, "roc_auc", contender(truth, label), other, RESAMPLING)


def test_a_release_of_equal_worth_seldom_wins() -> None:
    """Equal worth, other noise: of 200 pairs at 95 % about 5 win (2.5 %); more than 14 would be one chance in 4,000."""
    section = Register(model="churn", win="brier")
    wins = 0
    for seed in range(200):
        truth, label = world(seed, entities=150)
        one, other = (blurred(truth, 1000 * seed + number, 0.5) for number in (1, 2))
        found = gate_checks(
            section, "brier", contender(one, label), contender(other, label), replace(RESAMPLING, seed=seed)
        )
        wins += outcome_of(found) == "won"
    assert wins <= 14


def test_the_time_of_a_row_is_that_of_one_row_alone() -> None:
    class Counting:
        lengths: list[int] = []  # noqa: RUF012 - one object, one list

        def score(self, vectors: list[list[float]]) -> list[float]:
            self.lengths.append(len(vectors))
            return [0.5]

    bundle = Counting()
    assert row_microseconds(_as_bundle(bundle), [[1.0]] * 7) > 0
    assert bundle.lengths == [1] * 7


def _as_bundle(stand_in: object) -> Bundle:
    return stand_in  # type: ignore[return-value]
