"""Folds keep apart what must be apart, and refuse rows that do not suffice for them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold, StratifiedKFold

from core.errors import PlanError
from models.data.folds import grouped_folds, random_folds, stratified_folds, temporal_folds
from models.data.rows import BINARY, Task

_DAY = 86_400_000_000
_NUMBER = Task("regression")


def test_every_fold_has_its_share_of_each_class() -> None:
    label = np.array([1] * 10 + [0] * 40)
    folds = stratified_folds(label, 5, BINARY, seed=1)
    assert [label[fold.check].sum() for fold in folds] == [2] * 5
    assert sorted(np.concatenate([fold.check for fold in folds])) == list(range(50))
    assert all(set(fold.fit).isdisjoint(fold.check) for fold in folds)


@given(st.integers(2, 9), st.integers(9, 60), st.integers(0, 2**32 - 1))
def test_random_folds_are_those_of_scikit_learn(count: int, rows: int, seed: int) -> None:
    reference = KFold(count, shuffle=True, random_state=seed).split(np.empty((rows, 0)))
    for fold, (fit, check) in zip(random_folds(rows, count, seed), reference, strict=True):
        assert fold.fit.tolist() == fit.tolist()
        assert fold.check.tolist() == check.tolist()


@given(st.lists(st.sampled_from([2, 0, 1]), max_size=40), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_stratified_folds_are_those_of_scikit_learn(labels: list[int], count: int, seed: int) -> None:
    label = np.array([*labels, *[1, 2, 0] * count])
    reference = StratifiedKFold(count, shuffle=True, random_state=seed).split(label, label)
    folds = stratified_folds(label, count, Task("multiclass", ("a", "b", "c")), seed)
    for fold, (fit, check) in zip(folds, reference, strict=True):
        assert fold.fit.tolist() == fit.tolist()
        assert fold.check.tolist() == check.tolist()


@given(st.lists(st.integers(0, 12), min_size=40, max_size=80), st.integers(0, 5))
def test_no_entity_is_on_both_sides(entities: list[int], seed: int) -> None:
    groups = np.array([*entities, *range(13)])
    label = np.arange(len(groups)) % 2
    try:
        folds = grouped_folds(groups, label, 3, BINARY, seed)
    except PlanError:
        return
    for fold in folds:
        assert set(groups[fold.fit]).isdisjoint(groups[fold.check])


def test_a_temporal_fold_is_fitted_on_what_ended_a_gap_before_it() -> None:
    as_of = np.repeat(np.arange(6), 4) * 30 * _DAY
    label = np.arange(24) % 2
    first, second = temporal_folds(as_of, label, 2, timedelta(days=30), BINARY)
    assert sorted(set(as_of[first.check] // (30 * _DAY))) == [2, 3]
    assert sorted(set(as_of[first.fit] // (30 * _DAY))) == [0, 1]
    assert sorted(set(as_of[second.check] // (30 * _DAY))) == [4, 5]
    assert sorted(set(as_of[second.fit] // (30 * _DAY))) == [0, 1, 2, 3]
    wide = temporal_folds(as_of, label, 2, timedelta(days=60), BINARY)
    assert sorted(set(as_of[wide[1].fit] // (30 * _DAY))) == [0, 1, 2]


def test_too_few_instants_are_refused() -> None:
    as_of = np.repeat(np.arange(4), 5) * 30 * _DAY
    with pytest.raises(
        PlanError, match="4 as-of instants of the training rows are too few for 3 temporal folds that are 90"
    ):
        temporal_folds(as_of, np.arange(20) % 2, 3, timedelta(days=90), BINARY)


def test_fewer_rows_than_folds_are_refused() -> None:
    with pytest.raises(PlanError, match="3 rows are too few for 5 folds"):
        stratified_folds(np.array([0.5, 1, 2]), 5, _NUMBER, seed=1)


def test_a_class_that_does_not_go_round_is_named() -> None:
    task = Task("multiclass", ("leaves", "stays"))
    with pytest.raises(PlanError, match="the class 'leaves' has 2 rows, fewer than the 3 folds"):
        stratified_folds(np.array([0, 0, 1, 1, 1, 1]), 3, task, seed=1)


def test_a_class_that_is_missing_in_a_fold_is_named() -> None:
    as_of = np.repeat(np.arange(3), 4) * 30 * _DAY
    label = np.array([0] * 4 + [0, 1] * 4)
    with pytest.raises(PlanError, match="the fit rows of fold 1 of 2 lack the class '1'"):
        temporal_folds(as_of, label, 2, timedelta(days=30), BINARY)


def test_numbers_are_dealt_to_folds() -> None:
    folds = grouped_folds(np.arange(9) // 3, np.linspace(0, 1, 9), 3, _NUMBER, seed=1)
    assert sorted(len(fold.check) for fold in folds) == [3, 3, 3]
