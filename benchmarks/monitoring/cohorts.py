"""Seconds to compare and decide an experiment with many exposures, on a real PostgreSQL."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from importlib import import_module
from time import perf_counter

import psycopg

from benchmarks.scratch_server import scratch_server
from core.experiment.decision import ExperimentTerms
from core.experiment.design import Design, compare_arms
from core.experiment.metrics import MetricTerms

START = datetime(2026, 1, 1, tzinfo=UTC)
_DAYS, _HORIZON = 90, timedelta(days=30)
_FILL = f"""
INSERT INTO panthera.release
SELECT id, 1, 'model', 'kind', id, 'service', 'd', 'c', '1', '{{}}' FROM unnest(ARRAY['r1', 'r2']) AS release (id);
INSERT INTO panthera.experiment_phase (experiment, salt, champion_weight, challenger_weight, champion, challenger)
VALUES ('trial', 's', 1, 1, 'r1', 'r2');
INSERT INTO panthera.exposure (experiment, entity, arm, bucket, release_id, prediction_id, exposed_at, phase_id)
SELECT 'trial', n::text, (ARRAY['champion', 'challenger'])[1 + n %% 2], 0, (ARRAY['r1', 'r2'])[1 + n %% 2],
    gen_random_uuid(), %(start)s + n * interval '{_DAYS} days' / %(exposures)s, 1
FROM generate_series(1, %(exposures)s) AS n;
INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value, name)
SELECT name || n, n::text, %(start)s + n * interval '{_DAYS} days' / %(exposures)s + interval '10 days',
    (hashint4(n) %% 10 = 0)::int, name
FROM generate_series(1, %(exposures)s) AS n CROSS JOIN unnest(ARRAY['', 'calls']) AS name;
"""
_TERMS = ExperimentTerms("lower", minimum_effect=0.002, looks=5, alpha=0.05, power=0.8)
_CALLS = MetricTerms("calls", "lower", "calls", value="sum", within=_HORIZON, margin=0.01)


def cohorts_seconds(url: str, exposures: int) -> dict[str, float]:
    """Fill an empty migrated database with exposures and their outcomes; return the seconds of a comparison with a decision.

    The second figure is with a guardrail as well. Imports are not counted.
    """
    import_module("scipy.stats")
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(_FILL, {"start": START, "exposures": exposures})
        connection.execute("VACUUM ANALYZE")
    plain = Design("trial", {"champion": 1, "challenger": 1}, 0.95, 0.001, _HORIZON, terms=_TERMS)
    guarded = Design("trial", {"champion": 1, "challenger": 1}, 0.95, 0.001, _HORIZON, terms=_TERMS, metrics=(_CALLS,))
    return {"cohorts_1m_seconds": _seconds(url, plain), "cohorts_1m_guardrail_seconds": _seconds(url, guarded)}


def _seconds(url: str, design: Design) -> float:
    with psycopg.connect(url) as connection:
        began = perf_counter()
        comparison = compare_arms(connection, design, START + timedelta(days=_DAYS) + _HORIZON)
        seconds = perf_counter() - began
    assert comparison.decision is not None, "the design has terms"
    return round(seconds, 2)


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=1_000_000, help="default: 1000000")
    exposures = parser.parse_args().exposures
    with scratch_server("panthera-cohorts-") as (url, _):
        print(json.dumps({"exposures": exposures, **cohorts_seconds(url, exposures)}))


if __name__ == "__main__":
    main()
