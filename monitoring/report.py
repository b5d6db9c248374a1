"""The HTML report of drift by Evidently, on a sample; alarms come from `monitoring.drift`, not from this report."""

from __future__ import annotations

import gzip
import html
import math
import re
import warnings
from base64 import b64encode
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

#: Seed of the sample of reference rows; fixed, so that the report is reproducible.
_SEED = 7
#: Level that represents missing values, which Evidently would leave out of the PSI.
_MISSING_LEVEL = "(missing)"


_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
#: Runs the compressed scripts: an element that is appended with its text runs at once, in the scope of the page.
_UNPACK = """(async () => {
  for (const packed of document.querySelectorAll('script[type="application/gzip"]')) {
    const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.body.appendChild(script);
  }
})();"""


@dataclass(frozen=True)
class DriftReport:
    """The written report: its path, its numbers of rows, and the columns left out because one side has no value."""

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
    """Write a report that compares a sample of the training rows with logged predictions to `path`, as one HTML file.

    Parameters
    ----------
    reference : the bins of the release, with the kind of each column.
    training_rows : the release's reference rows, with a column `score`; at most `rows` of them are sampled.
    predictions : at most `rows` logged predictions of the same release.
    alarm : the PSI above which the report marks drift. Evidently chooses new bins for each comparison and leaves out missing
        numbers, so that its PSI differs from that of `monitoring.drift`.

    """
    training = _frame(reference, _sampled(training_rows, rows))
    served = _frame(reference, [{**logged.features, SCORE: logged.score} for logged in predictions])
    dropped = tuple(name for name in training.columns if training[name].isna().all() or served[name].isna().all())
    kept = [column for column in reference.columns if column.name not in dropped]
    page = _page(training.drop(columns=[*dropped]), served.drop(columns=[*dropped]), kept, alarm)
    note = _note(len(training), len(served), dropped)
    write_whole(path, compressed(page.replace("</body>", f"{note}</body>")))
    return DriftReport(path, len(training), len(served), dropped)


def _sampled(training_rows: pa.Table, rows: int) -> list[dict[str, Any]]:
    if training_rows.num_rows > rows:
        indices = np.random.default_rng(_SEED).choice(training_rows.num_rows, size=rows, replace=False)
        training_rows = training_rows.take(np.sort(indices))
    sampled: list[dict[str, Any]] = training_rows.to_pylist()
    return sampled


def _frame(reference: Reference, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            column.name: [_as_number_or_level(row.get(column.name), column) for row in rows]
            for column in reference.columns
        }
    )


def _as_number_or_level(value: Any, column: ColumnReference) -> float | str:
    """Return the text of a level; else the number, with a time as seconds since 1970 and NaN for other values."""
    if column.kind == "levels":
        return str(value).lower() if isinstance(value, bool) else _MISSING_LEVEL if value is None else str(value)
    if column.kind == "timestamp" and isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else math.nan


def _page(training: pd.DataFrame, served: pd.DataFrame, columns: Sequence[ColumnReference], alarm: float) -> str:
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
        current, reference = (Dataset.from_pandas(frame, data_definition=definition) for frame in (served, training))
        # Method and threshold are explicit because Evidently's defaults depend on the number of rows.
        report = Report([DataDriftPreset(method="psi", threshold=alarm)])
        return str(report.run(current, reference).get_html_str(as_iframe=False))


def compressed(page: str) -> str:
    """Return an HTML page whose inline scripts are compressed, and run in their order when it is opened.

    Evidently's program and its JSON are 5 MB of a page of 25 columns; compressed, the page has less than 2 MB. A browser needs
    `DecompressionStream`, which all have since 2023.
    """
    scripts = _SCRIPT.sub(lambda found: f'<script type="application/gzip">{_packed(found[1])}</script>', page)
    return scripts.replace("</body>", f"<script>{_UNPACK}</script></body>")


def _packed(text: str) -> str:
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _note(rows_reference: int, rows_current: int, dropped: Sequence[str]) -> str:
    left_out = f" Left out, since one side has no value: {', '.join(dropped)}." if dropped else ""
    text = (
        f"A sample: {rows_reference} training rows against {rows_current} predictions.{left_out} "
        "Alarms come from `panthera drift`, which counts every prediction in fixed bins."
    )
    return f'<p style="font-family: sans-serif; margin: 2em">{html.escape(text)}</p>'
