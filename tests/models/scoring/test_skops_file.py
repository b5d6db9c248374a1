"""Scikit-learn objects in skops files: what is trusted, and what reading them imports."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.utils import all_estimators
from skops.io.exceptions import UntrustedTypesFoundException

from models.scoring.skops_file import ESTIMATORS, read_skops, write_skops

if TYPE_CHECKING:
    from pathlib import Path

X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])


def test_the_listed_estimators_are_estimators_of_scikit_learn() -> None:
    assert set(ESTIMATORS) <= {f"{estimator.__module__}.{estimator.__name__}" for _, estimator in all_estimators()}


def test_an_estimator_that_no_candidate_holds_is_read_too() -> None:
    """Bundles may hold what an earlier version fitted."""
    read = read_skops(write_skops(GaussianNB().fit(X, Y)))
    assert read.predict(X).tolist() == [0, 0, 1, 1]


def test_another_type_is_refused() -> None:
    with pytest.raises(UntrustedTypesFoundException, match=r"functools\.partial|print"):
        read_skops(write_skops([partial(print)]))


def test_a_model_is_read_without_importing_what_it_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    file.write_bytes(write_skops(LogisticRegression().fit(X, Y)))
    program = """
import sys
from pathlib import Path
from models.scoring.skops_file import read_skops
assert read_skops(Path(sys.argv[1]).read_bytes()).predict([[3.0]]) == [1]
from sklearn.utils import all_estimators
assert all_estimators is not list
print(*({"pytest", "dask", "sklearn.gaussian_process"} & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", program, file], check=True, capture_output=True, text=True)
    assert shown.stdout.split() == []
