"""Import skops.io without its own list of estimators, for which it would import all of scikit-learn and pytest."""

from __future__ import annotations

from importlib import import_module

import sklearn.utils

_LISTED = sklearn.utils.all_estimators
sklearn.utils.all_estimators = list
try:
    skops_io = import_module("skops.io")
finally:
    sklearn.utils.all_estimators = _LISTED
