"""Scikit-learn objects as skops files: no pickle, only trusted types, and equal objects give equal bytes."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

#: The types of candidates that skops does not trust by default: scikit-learn types whose state is plain arrays, and the
#: transformers of this project.
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
    """Compose the skops file of fitted scikit-learn objects, or of lists and mappings of them."""
    import skops.io

    return _canonical(skops.io.dumps(value))


def read_skops(content: bytes) -> Any:
    """Return the objects of a skops file; skops raises its own error for an untrusted type before it creates any object."""
    import skops.io

    return skops.io.loads(content, trusted=list(TRUSTED))


def _canonical(content: bytes) -> bytes:
    """Return a skops file without memory addresses and write times, so that equal models give equal bytes."""
    names: dict[int, int] = {}

    def renumber(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: _number(names, value) if key == "__id__" else renumber(value) for key, value in node.items()}
        if isinstance(node, list):
            return [renumber(item) for item in node]
        return node

    canonical = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(canonical, "w", zipfile.ZIP_DEFLATED) as new:
        schema = renumber(json.loads(old.read("schema.json")))
        text = json.dumps(schema)
        for number, member in enumerate(sorted(set(old.namelist()) - {"schema.json"}, key=text.find)):
            name = f"array{number}.npy"
            text = text.replace(f'"{member}"', f'"{name}"')
            new.writestr(zipfile.ZipInfo(name, ZIP_TIME), old.read(member))
        new.writestr(zipfile.ZipInfo("schema.json", ZIP_TIME), text)
    return canonical.getvalue()


def _number(names: dict[int, int], address: int) -> int:
    return names.setdefault(address, len(names) + 1)
