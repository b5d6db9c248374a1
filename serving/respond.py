"""Compose the JSON bodies of responses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, SupportsIndex

import msgspec
from starlette.responses import Response

from core.experiment.prediction_log import is_replay
from core.plan.times import WITHOUT_TIME
from serving.predict import Answer
from serving.wire.problems import error_member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from core.contracts import Key, Value, ViewRead
    from serving.active_releases import Release
    from serving.features import Facts
    from serving.predict import Entry
    from serving.scoring import Reason
    from serving.wire.values import EntityKey


def _plain_number(value: object) -> object:
    """Return a number of another library, such as NumPy's, as a number of Python."""
    if isinstance(value, float):
        return float(value)
    if isinstance(value, SupportsIndex):
        return int(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_ENCODE = msgspec.json.Encoder(enc_hook=_plain_number).encode


class BodyResponse(Response):
    """A response with status 200 and a body, by default of JSON."""

    def __init__(self, body: bytes, media_type: bytes = b"application/json") -> None:
        # Starlette's own constructor composes the same headers, but takes as long as the encoding of the body.
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", media_type),
        ]


def json_response(content: Mapping[str, Any]) -> Response:
    """Return a response with status 200 and `content` as compact JSON; instants in UTC have the suffix Z."""
    return BodyResponse(_ENCODE(content))


def instant(value: datetime | None) -> str | None:
    """Return an instant in UTC as ISO 8601 with the suffix Z; None if there is none, as of a row of a table without times."""
    return None if value is None or value == WITHOUT_TIME else _utc(value)


def _utc(value: datetime) -> str:
    """Return an instant in UTC as ISO 8601 with the suffix Z."""
    return value.isoformat().replace("+00:00", "Z")


def predictions(entries: Iterable[Entry], key: EntityKey, facts: Facts) -> dict[str, Any]:
    """Compose the body of a prediction response; `replay` marks a request as of a past instant."""
    replay = is_replay(facts.as_of, facts.read_at)
    return {"as_of": _utc(facts.as_of), "replay": replay, "predictions": [_entry(entry, key) for entry in entries]}


def _entry(entry: Entry, key: EntityKey) -> dict[str, Any]:
    statuses = {view: _status(read) for view, read in entry.views.items()}
    if not isinstance(entry, Answer):
        return {key.name: entry.key, "error": error_member(entry.code, entry.message), "features": statuses}
    return {
        "prediction_id": entry.prediction.prediction_id,
        key.name: entry.key,
        "release": entry.prediction.release_id,
        "arm": entry.prediction.arm,
        "score": entry.prediction.score,
        **({"positive": entry.positive} if entry.positive else {}),
        **({"interval": {"lower": entry.interval[0], "upper": entry.interval[1]}} if entry.interval else {}),
        "decision": entry.prediction.decision or None,
        **({"probabilities": dict(entry.probabilities)} if entry.probabilities else {}),
        "features": statuses,
        **({} if entry.reasons == () else {"reasons": _reasons(entry.reasons)}),
    }


def _reasons(reasons: Sequence[Reason] | None) -> list[dict[str, Any]] | None:
    if reasons is None:
        return None
    return [
        {"feature": reason.feature, "value": _value(reason.value), "contribution": reason.contribution}
        for reason in reasons
    ]


def _status(read: ViewRead) -> dict[str, Any]:
    return {"status": read.status, "event_time": instant(read.event_time)}


def features(
    keys: Sequence[Key], reads: Sequence[Mapping[str, ViewRead]], release: Release, key: EntityKey, as_of: datetime
) -> dict[str, Any]:
    """Compose the body with the online features of `keys` that `release` logs; `reads` has rows by online table."""
    entities = [
        {key.name: value, "features": {view: _view(release, view, read) for view in release.logged_tables}}
        for value, read in zip(keys, reads, strict=True)
    ]
    return {"as_of": _utc(as_of), "entities": entities}


def _view(release: Release, view: str, reads: Mapping[str, ViewRead]) -> dict[str, Any]:
    table = release.logged_tables[view]
    values = {
        entry.column.removeprefix(f"{view}__"): _value(reads[table].values[entry.position])
        for entry in release.logged
        if entry.table == table
    }
    return {**_status(reads[table]), "values": values}


def _value(value: Value) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, int | float | str) else _utc(value)


def release(active: Release | None) -> dict[str, Any] | None:
    """Compose the description of a release from its ledger row and its contract; None stays None."""
    if active is None:
        return None
    contract = active.bundle.contract
    return {
        "release": active.release_id,
        "candidate": active.ledger.candidate,
        "registry_version": active.ledger.registry_version,
        "created_at": instant(active.ledger.created_at),
        "feature_service": contract.feature_service,
        "features": len(contract.features),
        "threshold": None if math.isnan(contract.threshold) else contract.threshold,
    }
