"""The last round as metrics in a file, for the textfile collector of Prometheus's node exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from core.files import write_whole
from monitoring.rounds.rules import Decision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path


def write_metrics(
    path: Path,
    model: str,
    as_of: datetime,
    decision: Decision,
    findings: Mapping[str, Any],
    failures: Mapping[str, bool],
) -> str | None:
    """Write the metrics of a round to `path` in one step; return why that failed, or None.

    Parameters
    ----------
    as_of : the end of the round's window.
    findings : the results of the checks, as JSON types.
    failures : by channel, whether its alert failed.

    """
    try:
        write_whole(path, round_metrics(model, as_of, decision, findings, failures))
    except OSError as error:
        return f"the metrics could not be written to {path} ({error.strerror or type(error).__name__})"
    return None


def round_metrics(
    model: str, as_of: datetime, decision: Decision, findings: Mapping[str, Any], failures: Mapping[str, bool]
) -> bytes:
    """Return the metrics of a round in Prometheus's text format."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, value: float | None) -> None:
        _set(registry, name, text, {(model,): value})

    gauge("panthera_round_as_of_timestamp_seconds", "End of the last round's window", as_of.timestamp())
    _set(
        registry,
        "panthera_round_decision",
        "1 for the decision of the last round",
        {(model, str(each)): float(each is decision) for each in Decision},
        "decision",
    )
    drift, parity = findings.get("drift") or {}, findings.get("parity") or {}
    columns = drift.get("columns", {})
    gauge("panthera_round_drifted_columns", "Columns with an alarm", len(drift["alarms"]) if drift else None)
    for name, key, text in _OF_A_COLUMN:
        _set(registry, name, text, {(model, column): measured[key] for column, measured in columns.items()}, "column")
    gauge("panthera_round_parity_defects", "Values and scores that differ for a defect", parity.get("defects"))
    gauge("panthera_round_unmeasured_checks", "Checks that could not be made", len(findings.get("problems", {})))
    _set(
        registry,
        "panthera_round_alert_failed",
        "1 if the alert could not be sent",
        {(model, channel): float(failed) for channel, failed in failures.items()},
        "channel",
    )
    return generate_latest(registry)


_OF_A_COLUMN = (
    ("panthera_round_psi", "psi", "Population stability index of a column"),
    ("panthera_round_psi_limit", "limit", "Population stability index above which a column has drifted"),
    ("panthera_round_missing_share", "missing_share_current", "Share of the served values that are missing"),
)


def _set(
    registry: CollectorRegistry, name: str, text: str, values: Mapping[tuple[str, ...], float | None], *labels: str
) -> None:
    """Add a gauge with the values that are known, if there are any."""
    known = {series: value for series, value in values.items() if value is not None}
    if known:
        gauge = Gauge(name, text, ["model", *labels], registry=registry)
        for series, value in known.items():
            gauge.labels(*series).set(value)
