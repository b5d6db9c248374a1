"""Scikit-learn's objects as bytes, by skops: no pickle, only trusted types, and equal objects give equal bytes."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

#: The types that skops does not trust by itself and that a candidate may hold: scikit-learn's own, whose state is plain
#: arrays, and our own transformers.
TRUSTED = (
    *(
        f"{module}.{name}"
        for module in ("models.scoring.transformers", "models.transformers")  # the second in files of earlier versions
        for name in ("LevelRanks", "NearestRowsImputer", "SignedLog", "Winsoriser")
    ),
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.impute._iterative.IterativeImputer",
    "sklearn.impute._iterative._ImputerTriplet",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
)
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def write_skops(value: Any) -> bytes:
    """Write fitted objects of scikit-learn, or lists and mappings of them."""
    import skops.io

    return _settled(skops.io.dumps(value))


def read_skops(content: bytes) -> Any:
    """Read what `write_skops` wrote; a type that is not trusted raises skops' error before anything of it is built."""
    import skops.io

    return skops.io.loads(content, trusted=list(TRUSTED))


def _settled(content: bytes) -> bytes:
    """Rewrite a skops file so that equal models give equal bytes: no memory addresses, no time of writing."""
    names: dict[int, int] = {}

    def renumber(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: _number(names, value) if key == "__id__" else renumber(value) for key, value in node.items()}
        if isinstance(node, list):
            return [renumber(item) for item in node]
        return node

    settled = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(settled, "w", zipfile.ZIP_DEFLATED) as new:
        schema = renumber(json.loads(old.read("schema.json")))
        text = json.dumps(schema)
        for number, member in enumerate(sorted(set(old.namelist()) - {"schema.json"}, key=text.find)):
            name = f"array{number}.npy"
            text = text.replace(f'"{member}"', f'"{name}"')
            new.writestr(zipfile.ZipInfo(name, ZIP_TIME), old.read(member))
        new.writestr(zipfile.ZipInfo("schema.json", ZIP_TIME), text)
    return settled.getvalue()


def _number(names: dict[int, int], address: int) -> int:
    return names.setdefault(address, len(names) + 1)
