"""The Evidently report: written whole, on a bounded sample, and open about what it leaves out."""

from __future__ import annotations

import gzip
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from core.reference import build_reference
from monitoring.logged_predictions import LoggedPrediction
from monitoring.report import write_report
from tests.monitoring.log_rows import NOON

if TYPE_CHECKING:
    from pathlib import Path


PACKED = re.compile('<script type="application/gzip">(.*?)</script>')


def logged(number: int, features: dict[str, Any]) -> LoggedPrediction:
    return LoggedPrediction(UUID(int=number), str(number), NOON, NOON, number / 300, features, {}, {})


def test_a_report_is_one_file_that_names_what_it_leaves_out(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    training = pa.table(
        {
            "v__spend": random.normal(size=500),
            "v__channel": random.choice(["web", "shop"], size=500),
            "v__gone": random.normal(size=500),
            "score": random.uniform(size=500),
        }
    )
    served = [
        logged(
            number, {"v__spend": float(random.normal()), "v__channel": None if number % 5 else "web", "v__gone": None}
        )
        for number in range(300)
    ]
    path = tmp_path / "reports" / "drift.html"
    report = write_report(build_reference(training), training, served, alarm=0.1, rows=200, path=path)
    assert (report.rows_reference, report.rows_current, report.dropped) == (200, 300, ("v__gone",))
    page = path.read_text()
    assert "Left out, since one side has no value: v__gone." in page
    scripts = [gzip.decompress(b64decode(packed)).decode() for packed in PACKED.findall(page)]
    assert "v__spend" in scripts[0]
    assert "window.drawDashboard(" in scripts[-1]  # runs last
    assert "<script>" not in page.partition("DecompressionStream")[0].rpartition("<script>")[0]
    assert path.stat().st_size < 2_000_000
    assert [file.name for file in path.parent.iterdir()] == ["drift.html"]
