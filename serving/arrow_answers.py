"""Answers as a stream of Arrow record batches, for callers that ask by the Accept header; the columns of `panthera score`.

Requests stay JSON: the size of a compressed Arrow buffer is known only once it is unpacked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.experiment.prediction_log import is_replay
from core.plan.times import WITHOUT_TIME
from serving.predict import Answer
from serving.wire.bodies import header
from serving.wire.openapi import ARROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from starlette.requests import Request

    from serving.features import Facts
    from serving.predict import Entry
    from serving.wire.values import EntityKey


def is_asked_for(request: Request) -> bool:
    """Return whether the Accept header names Arrow before JSON, or alone."""
    accepted = [part.partition(";")[0].strip().lower() for part in (header(request, b"accept") or "").split(",")]
    return next((part for part in accepted if part in {ARROW, "application/json"}), None) == ARROW


def predictions_as_arrow(entries: Sequence[Entry], key: EntityKey, facts: Facts) -> bytes:
    """Return one stream with a row for each entry, in their order; the metadata of its schema has `replay`.

    Columns: the key, `prediction_id`, `release`, `arm`, `as_of`, `score`, `decision`; `interval_lower` and `interval_upper`,
    and `probability_<class>`, if any entry has them; `error` and `message` of a refusal; and for each view `<view>__status`
    and `<view>__event_time`. Times are in UTC.
    """
    import pyarrow as pa

    columns = {
        key.name: pa.array([entry.key for entry in entries], pa.int64() if key.dtype == "int64" else pa.string()),
        **_of_answers(entries),
        **_of_views(entries),
    }
    replay = str(is_replay(facts.as_of, facts.read_at)).lower()
    table = pa.table(columns).replace_schema_metadata({"replay": replay})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _of_answers(entries: Sequence[Entry]) -> dict[str, pa.Array]:
    import pyarrow as pa

    answers = [entry if isinstance(entry, Answer) else None for entry in entries]
    refused = [None if isinstance(entry, Answer) else entry for entry in entries]
    logged = [answer and answer.prediction for answer in answers]
    text, number = pa.string(), pa.float64()
    columns = {
        "prediction_id": pa.array([row and str(row.prediction_id) for row in logged], text),
        "release": pa.array([row and row.release_id for row in logged], text),
        "arm": pa.array([row and row.arm for row in logged], text),
        "as_of": pa.array([row and row.as_of for row in logged], _instants()),
        "score": pa.array([row and row.score for row in logged], number),
        "decision": pa.array([(row and row.decision) or None for row in logged], text),
    }
    bounds = [(answer and answer.interval) or (None, None) for answer in answers]
    if any(bound is not None for bound, _ in bounds):
        lower, upper = zip(*bounds, strict=True)
        columns |= {"interval_lower": pa.array(lower, number), "interval_upper": pa.array(upper, number)}
    probabilities = [(answer and answer.probabilities) or {} for answer in answers]
    for name in dict.fromkeys(name for each in probabilities for name in each):
        columns[f"probability_{name}"] = pa.array([each.get(name) for each in probabilities], number)
    return columns | {
        "error": pa.array([entry and entry.code for entry in refused], text),
        "message": pa.array([entry and entry.message for entry in refused], text),
    }


def _of_views(entries: Sequence[Entry]) -> dict[str, pa.Array]:
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for view in dict.fromkeys(view for entry in entries for view in entry.views):
        reads = [entry.views.get(view) for entry in entries]
        times = [read and read.event_time for read in reads]
        columns[f"{view}__status"] = pa.array([read and str(read.status) for read in reads], pa.string())
        columns[f"{view}__event_time"] = pa.array(
            [None if time == WITHOUT_TIME else time for time in times], _instants()
        )
    return columns


def _instants() -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", "UTC")
