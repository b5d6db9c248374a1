"""Decode request bodies and queries into typed values; a malformed one raises a Refusal that names found, expected, where."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeAlias

from core.experiment.prediction_log import Outcome
from core.suggestions import allowed_here
from feature_repo.online.push import PushedRow
from serving.wire.json_text import Extent, parse_json
from serving.wire.refusals import Refusal
from serving.wire.values import (
    LONGEST_TEXT,
    EntityKey,
    complete,
    entity_key,
    exact_float,
    feature_value,
    identifier_text,
    is_finite,
    key_of_text,
    key_value,
    object_with,
    past_instant,
    refuse_unknown_names,
    rows_of,
    shown,
    stored_text,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from core.contracts import Key, Value
    from feature_repo.online.table import OnlineTable

GivenFeatures: TypeAlias = "Mapping[str, Mapping[str, Value]]"

_FLOAT32 = Struct("f")
#: Rows in one request to push, and outcomes in one request.
MOST_PUSHED = 1000
MOST_OUTCOMES = 10_000
#: Attributes of one entity.
MOST_ATTRIBUTES = 20
#: Entities in one request whose predictions are explained; the reasons of one can take a millisecond.
MOST_EXPLAINED = 100


@dataclass(frozen=True)
class EntitiesRequest:
    """The requested entities in their order, and the instant `as_of`; None is now.

    `given` are the features that came with each entity, in the same order: values by view and name; empty if none came.
    `attributes` came with each entity for the targets of experiments, in the same order too; empty if none came. `explain` asks
    for the reasons of each prediction.
    """

    keys: tuple[Key, ...]
    as_of: datetime | None
    given: tuple[GivenFeatures, ...] = ()
    attributes: tuple[Mapping[str, Value], ...] = ()
    explain: bool = False


def decode_predict(
    body: bytes, key: EntityKey, most: int, now: datetime, views: Mapping[str, OnlineTable] | None = None
) -> EntitiesRequest:
    """Return the decoded `{"entities": [{"<key>": ..., ...}, ...], "as_of": ...}`, or one `"entity"`.

    An entity may have `features` and `attributes`.

    Parameters
    ----------
    most : largest number of entities.
    views : views whose features an entity may bring along, by name.

    Raises
    ------
    NotJson, Refusal
        If the body is malformed.

    """
    views = views or {}
    values = sum(len(table.features) for table in views.values())
    extent = Extent(objects=(3 + len(views)) * most + 2, values=(3 + len(views) + values + MOST_ATTRIBUTES) * most + 5)
    content = object_with(parse_json(body, extent), "the body", ["entities", "entity", "as_of", "explain"])
    as_of = past_instant(content["as_of"], "as_of", now) if "as_of" in content else None
    if ("entity" in content) == ("entities" in content):
        found = "both 'entities' and 'entity'" if "entity" in content else "neither 'entities' nor 'entity'"
        raise Refusal(f"found {found} in the body; expected one of them")
    if "entity" in content:
        rows = {"entity": content["entity"]}
    else:
        listed = rows_of(content["entities"], "entities", most)
        rows = {f"entities[{at}]": row for at, row in enumerate(listed)}
    keys = tuple(entity_key(row, key, where) for where, row in rows.items())
    given = tuple(_given(row, views, where) for where, row in rows.items())
    attributes = tuple(_attributes(row, f"{where}.attributes") for where, row in rows.items())
    return EntitiesRequest(
        keys,
        as_of,
        given if any(given) else (),
        attributes if any(attributes) else (),
        explain=_explain(content, len(keys)),
    )


def _attributes(row: object, where: str) -> Mapping[str, Value]:
    """Return the attributes of an entity: texts, finite numbers and booleans by name."""
    found = row.get("attributes", {}) if isinstance(row, dict) else {}
    if not isinstance(found, dict):
        raise Refusal(f"found {shown(found)} at {where}; expected an object with texts, numbers or booleans by name")
    if len(found) > MOST_ATTRIBUTES:
        raise Refusal(f"found {len(found)} attributes at {where}; expected at most {MOST_ATTRIBUTES}")
    return {name: _attribute(value, f"{where}.{name[:60]}") for name, value in found.items()}


def _attribute(value: object, where: str) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and is_finite(value):
        return value
    if isinstance(value, str):
        return stored_text(value, where, LONGEST_TEXT)
    raise Refusal(f"found {shown(value)} at {where}; expected a text, a finite number or a boolean")


def _explain(content: Mapping[str, Any], entities: int) -> bool:
    explain = content.get("explain", False)
    if not isinstance(explain, bool):
        raise Refusal(f"found {shown(explain)} at explain; expected true or false")
    if explain and entities > MOST_EXPLAINED:
        raise Refusal(
            f"found {entities} entities with explain; expected at most {MOST_EXPLAINED} in one request, send several"
        )
    return explain


def _given(row: object, views: Mapping[str, OnlineTable], where: str) -> GivenFeatures:
    """Return the features that came with an entity, by view; a view that is named must have all its features."""
    if not isinstance(row, dict) or "features" not in row:
        return {}
    path = f"{where}.features"
    content = object_with(row["features"], path, list(views))
    return {view: _given_view(value, views[view], f"{path}.{view}") for view, value in content.items()}


def _given_view(value: object, table: OnlineTable, where: str) -> Mapping[str, Value]:
    names = [name for name, _ in table.features]
    content = complete(object_with(value, where, names), where, names)
    return {
        name: _as_stored(feature_value(content[name], dtype, f"{where}.{name}"), dtype)
        for name, dtype in table.features
    }


def _as_stored(value: Value, dtype: str) -> Value:
    """Return a value as an online table would return it: a float32 is rounded to 32 bits."""
    return _FLOAT32.unpack(_FLOAT32.pack(value))[0] if dtype == "float32" and value is not None else value


def decode_features(query: Sequence[tuple[str, str]], key: EntityKey, most: int, now: datetime) -> EntitiesRequest:
    """Return the decoded query `<key>=1&<key>=2&as_of=...`.

    Raises
    ------
    Refusal
        If it is malformed.

    """
    refuse_unknown_names((name for name, _ in query), "the query", [key.name, "as_of"])
    texts = [value for name, value in query if name == key.name]
    if not 1 <= len(texts) <= most:
        raise Refusal(f"found {len(texts)} times {key.name!r} in the query; expected 1 to {most}")
    return EntitiesRequest(tuple(key_of_text(text, key) for text in texts), decode_as_of(query, now))


def decode_as_of(query: Sequence[tuple[str, str]], now: datetime) -> datetime | None:
    """Return the `as_of` of a query, or None if it has none.

    Raises
    ------
    Refusal
        If it is malformed, or occurs twice.

    """
    texts = [value for name, value in query if name == "as_of"]
    if len(texts) > 1:
        raise Refusal(f"found {len(texts)} times 'as_of' in the query; expected it once")
    # An unescaped plus sign in a query is decoded as a blank, so that a zone such as +00:00 loses it.
    return past_instant(texts[0].replace(" ", "+"), "as_of", now) if texts else None


def refuse_unknown(query: Sequence[tuple[str, str]], allowed: Sequence[str]) -> None:
    """Raise Refusal if a query has a name that is not in `allowed`."""
    refuse_unknown_names((name for name, _ in query), "the query", allowed)


def decode_outcomes(
    body: bytes,
    key: EntityKey,
    now: datetime,
    classes: Mapping[str, float] | None = None,
    names: Collection[str] = (),
) -> list[Outcome]:
    """Return the decoded `{"outcomes": [{"outcome_id", "<key>", "observed_at", "value"}, ...]}`.

    A value is a number, or the name of one of `classes`, which have the number of each. An outcome may have a `name`, one of
    `names`; its value is a number.

    Raises
    ------
    NotJson, Refusal
        If the body is malformed.

    """
    parsed = parse_json(body, Extent(objects=MOST_OUTCOMES + 1, values=(5 + bool(names)) * MOST_OUTCOMES))
    content = object_with(parsed, "the body", ["outcomes"])
    if "outcomes" not in content:
        raise Refusal("found no 'outcomes' in the body; expected a list of them")
    rows = rows_of(content["outcomes"], "outcomes", MOST_OUTCOMES)
    return [_outcome(row, key, f"outcomes[{at}]", now, classes or {}, names) for at, row in enumerate(rows)]


def decode_push(body: bytes, views: Mapping[str, OnlineTable], now: datetime) -> tuple[str, list[PushedRow]]:
    """Return view and rows of `{"view": ..., "rows": [{"event_id", "<key>", "event_time", "features": {...}}, ...]}`.

    A row names every feature of its view; null is a missing value.

    Raises
    ------
    NotJson, Refusal
        If the body is malformed.

    """
    widest = max((len(table.features) for table in views.values()), default=0)
    parsed = parse_json(body, Extent(objects=2 * MOST_PUSHED + 1, values=(widest + 6) * MOST_PUSHED))
    content = object_with(parsed, "the body", ["view", "rows"])
    view = content.get("view")
    if not isinstance(view, str) or view not in views:
        raise Refusal(f"found {shown(view)} at view; {allowed_here(str(view)[:100], list(views))}")
    if "rows" not in content:
        raise Refusal("found no 'rows' in the body; expected a list of them")
    rows = rows_of(content["rows"], "rows", MOST_PUSHED)
    return view, [pushed_row(row, views[view], f"rows[{at}]", now) for at, row in enumerate(rows)]


def decode_pushed_line(line: bytes, table: OnlineTable, where: str, now: datetime) -> PushedRow:
    """Return the decoded row of `decode_push` on one line of a file; `where` names the line in errors.

    Raises
    ------
    NotJson, Refusal
        If it is malformed.

    """
    return pushed_row(parse_json(line, Extent(objects=2, values=len(table.features) + 4)), table, where, now)


def pushed_row(row: object, table: OnlineTable, where: str, now: datetime) -> PushedRow:
    """Return a row of `table` from parsed JSON; `where` names it in errors.

    Raises
    ------
    Refusal
        If it is malformed.

    """
    ((key_name, key_dtype),) = table.keys
    key, names = EntityKey(key_name, key_dtype), ["event_id", key_name, "event_time", "features"]
    content = complete(object_with(row, where, names), where, names)
    features = [name for name, _ in table.features]
    values = complete(object_with(content["features"], f"{where}.features", features), f"{where}.features", features)
    return PushedRow(
        identifier_text(content["event_id"], f"{where}.event_id"),
        key_value(content[key_name], key, f"{where}.{key_name}"),
        past_instant(content["event_time"], f"{where}.event_time", now),
        tuple(feature_value(values[name], dtype, f"{where}.features.{name}") for name, dtype in table.features),
    )


def _outcome(
    row: object, key: EntityKey, where: str, now: datetime, classes: Mapping[str, float], names: Collection[str]
) -> Outcome:
    required = ["outcome_id", key.name, "observed_at", "value"]
    content = complete(object_with(row, where, [*required, *(["name"] if names else [])]), where, required)
    name = _outcome_name(content["name"], where, names) if "name" in content else ""
    known_classes = {} if name else classes
    value = content["value"]
    value = known_classes.get(value, value) if isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        known = f", or the name of a class: {', '.join(known_classes)}" if known_classes else ""
        raise Refusal(f"found {shown(value)} at {where}.value; expected a finite number (1 or 0 for yes or no){known}")
    return Outcome(
        identifier_text(content["outcome_id"], f"{where}.outcome_id"),
        str(key_value(content[key.name], key, f"{where}.{key.name}")),
        past_instant(content["observed_at"], f"{where}.observed_at", now),
        exact_float(value, f"{where}.value"),
        name,
    )


def _outcome_name(name: object, where: str, names: Collection[str]) -> str:
    if isinstance(name, str) and name in names:
        return name
    raise Refusal(
        f"found {shown(name)} at {where}.name; expected {' or '.join(sorted(names))}, the outcomes of metrics under "
        "monitor.experiment, or no name for the outcome of the label"
    )
