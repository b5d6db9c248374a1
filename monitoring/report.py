"""The picture of drift: an HTML report by Evidently on a sample. The alarm is `monitoring.drift`'s, not its."""

from __future__ import annotations

import html
import math
import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from core.files import write_whole
from core.settings import silence_telemetry
from monitoring.served_counts import SCORE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

    from core.reference import ColumnReference, Reference
    from monitoring.logged_predictions import LoggedPrediction

#: Of the sample of reference rows; fixed, so that the same rows give the same report.
_SEED = 7
#: A level like any other, since Evidently leaves missing values out of a PSI.
_NO_LEVEL = "(missing)"


@dataclass(frozen=True)
class DriftReport:
    """Where the report is, what it compares, and the columns that it leaves out, as one side has no value at all."""

    path: Path
    rows_reference: int
    rows_current: int
    dropped: tuple[str, ...]


def write_report(
    reference: Reference,
    training_rows: pa.Table,
    predictions: Sequence[LoggedPrediction],
    *,
    alarm: float,
    rows: int,
    path: Path,
) -> DriftReport:
    """Compare a sample of the training rows with logged predictions, and write the report to `path` as one HTML file.

    Parameters
    ----------
    reference : the bins of the release; they say which columns are numbers and which are levels.
    training_rows : the release's reference rows, with a column `score`; at most `rows` of them are drawn.
    predictions : at most `rows` logged predictions of the same release.
    alarm : the PSI that the report colours as drift. Evidently bins anew for each comparison and leaves missing numbers
        out, so its PSI differs from the one that alarms.

    """
    then = _frame(reference, _sampled(training_rows, rows))
    now = _frame(reference, [{**logged.features, SCORE: logged.score} for logged in predictions])
    dropped = tuple(name for name in then.columns if then[name].isna().all() or now[name].isna().all())
    kept = [column for column in reference.columns if column.name not in dropped]
    page = _page(then.drop(columns=[*dropped]), now.drop(columns=[*dropped]), kept, alarm)
    write_whole(path, page.replace("</body>", _note(len(then), len(now), dropped) + "</body>"))
    return DriftReport(path, len(then), len(now), dropped)


def _sampled(training_rows: pa.Table, rows: int) -> list[dict[str, Any]]:
    if training_rows.num_rows > rows:
        drawn = np.random.default_rng(_SEED).choice(training_rows.num_rows, size=rows, replace=False)
        training_rows = training_rows.take(np.sort(drawn))
    listed: list[dict[str, Any]] = training_rows.to_pylist()
    return listed


def _frame(reference: Reference, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {column.name: [_plain(row.get(column.name), column) for row in rows] for column in reference.columns}
    )


def _plain(value: Any, column: ColumnReference) -> float | str:
    """Give a number, or NaN for anything else; of a level its text."""
    if column.kind == "levels":
        return str(value).lower() if isinstance(value, bool) else _NO_LEVEL if value is None else str(value)
    if column.kind == "timestamp" and isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else math.nan


def _page(then: pd.DataFrame, now: pd.DataFrame, columns: Sequence[ColumnReference], alarm: float) -> str:
    silence_telemetry()
    with warnings.catch_warnings():
        # Evidently 0.7.23 uses names that NumPy and pandas have deprecated.
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        definition = DataDefinition(
            numerical_columns=[column.name for column in columns if column.kind != "levels"],
            categorical_columns=[column.name for column in columns if column.kind == "levels"],
        )
        current, reference = (Dataset.from_pandas(frame, data_definition=definition) for frame in (now, then))
        # Method and threshold stand here because Evidently's defaults change with the number of rows.
        report = Report([DataDriftPreset(method="psi", threshold=alarm)])
        return str(report.run(current, reference).get_html_str(as_iframe=False))


def _note(rows_reference: int, rows_current: int, dropped: Sequence[str]) -> str:
    left_out = f" Left out, as one side has no value at all: {', '.join(dropped)}." if dropped else ""
    text = (
        f"A sample: {rows_reference} training rows against {rows_current} predictions.{left_out} "
        "The alarm is raised by `panthera drift`, on every prediction and with fixed bins."
    )
    return f'<p style="font-family: sans-serif; margin: 2em">{html.escape(text)}</p>'
