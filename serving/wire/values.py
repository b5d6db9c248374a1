"""Check single JSON values of requests and return them typed; a wrong one raises a Refusal that names what and where."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.clock import is_ahead
from core.contracts import LONGEST_KEY
from core.dtypes import DTYPES, INT64
from core.suggestions import allowed_here
from serving.wire.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from core.contracts import Key, Value

_INT64_TEXT = re.compile(r"-?[0-9]{1,19}", re.ASCII)
LONGEST_TEXT = LONGEST_KEY
LONGEST_FEATURE = 100_000
_LONGEST_SHOWN = 60
#: PostgreSQL cannot store NUL, and UTF-8 cannot encode half of a surrogate pair.
_NOT_STORED = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class EntityKey:
    """The key column of the predicted entity, and its dtype: int64 or string."""

    name: str
    dtype: str


def complete(content: dict[str, Any], where: str, names: Sequence[str]) -> dict[str, Any]:
    """Return an object that has all of these names."""
    for name in names:
        if name not in content:
            raise Refusal(f"found no {name!r} in {where}; expected {', '.join(names)}")
    return content


def feature_value(value: object, dtype: str, where: str) -> Value:
    """Return the value of a feature of this dtype; null is None."""
    if value is None:
        return None
    if dtype in {"string", "text"}:
        return stored_text(value, where, LONGEST_FEATURE)
    if dtype == "timestamp":
        return time_value(value, where)
    if dtype == "bool":
        if not isinstance(value, bool):
            raise Refusal(f"found {shown(value)} at {where}; expected true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        raise Refusal(f"found {shown(value)} at {where}; expected a finite number")
    bounds, largest = DTYPES[dtype].bounds, DTYPES[dtype].largest
    if bounds and (not isinstance(value, int) or value not in bounds):
        raise Refusal(f"found {shown(value)} at {where}; expected an integer of {dtype[3:]} bits")
    if largest and abs(value) > largest:
        raise Refusal(f"found {shown(value)} at {where}; expected a number of 32 bits")
    return value if bounds else exact_float(value, where)


def exact_float(value: float, where: str) -> float:
    """Return a number as a float; raise Refusal for a large integer that no float represents exactly."""
    if int(value) != value or int(float(value)) == value:
        return float(value)
    raise Refusal(f"found {shown(value)} at {where}; expected an integer that a 64-bit float can represent exactly")


def is_finite(value: float) -> bool:
    """Return whether a number is finite and not beyond every float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def object_with(value: object, where: str, allowed: Sequence[str]) -> dict[str, Any]:
    """Return an object that has none but the allowed names."""
    if not isinstance(value, dict):
        raise Refusal(f"found {shown(value)} at {where}; expected an object with {', '.join(allowed)}")
    refuse_unknown_names(value, where, allowed)
    return value


def refuse_unknown_names(names: Iterable[str], where: str, allowed: Sequence[str]) -> None:
    """Check that there are none but the allowed names."""
    for name in names:
        if name not in allowed:
            raise Refusal(f"found the unknown field {shown(name)} in {where}; {allowed_here(name[:100], allowed)}")


def rows_of(value: object, where: str, most: int) -> list[object]:
    """Return a list of one to `most` rows."""
    if not isinstance(value, list):
        raise Refusal(f"found {shown(value)} at {where}; expected a list")
    if not value:
        raise Refusal(f"found an empty list at {where}; expected at least one")
    if len(value) > most:
        raise Refusal(f"found {len(value)} {where}; expected at most {most} in one request, send several")
    return value


def entity_key(value: object, key: EntityKey, where: str) -> Key:
    """Return the key of an entity, which is an object."""
    content = object_with(value, where, [key.name, "features", "attributes"])
    if key.name not in content:
        raise Refusal(f"found no {key.name!r} in {where}; expected an object such as {_example(key)}")
    return key_value(content[key.name], key, f"{where}.{key.name}")


def key_value(value: object, key: EntityKey, where: str) -> Key:
    """Return a key of the dtype."""
    if key.dtype == "string":
        return identifier_text(value, where)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal(f"found {shown(value)} at {where}; expected an integer of 64 bits")
    if value not in INT64:
        raise Refusal(f"found a number of {value.bit_length()} bits at {where}; expected an integer of 64 bits")
    return value


def key_of_text(text: str, key: EntityKey) -> Key:
    """Return a key that is written in a query."""
    if key.dtype == "string":
        return identifier_text(text, key.name)
    if not _INT64_TEXT.fullmatch(text):
        raise Refusal(f"found {shown(text)} for {key.name} in the query; expected an integer of 64 bits")
    return key_value(int(text), key, key.name)


def identifier_text(value: object, where: str) -> str:
    """Return a text of 1 to `LONGEST_TEXT` characters that PostgreSQL can store."""
    text = stored_text(value, where, LONGEST_TEXT)
    if not text:
        raise Refusal(f"found a string of 0 characters at {where}; expected 1 to {LONGEST_TEXT}")
    return text


def stored_text(value: object, where: str, longest: int) -> str:
    """Return a text of at most `longest` characters that PostgreSQL can store."""
    if not isinstance(value, str):
        raise Refusal(f"found {shown(value)} at {where}; expected a string")
    if len(value) > longest:
        raise Refusal(f"found a string of {len(value)} characters at {where}; expected at most {longest}")
    if _NOT_STORED.search(value):
        raise Refusal(f"found a NUL or half a surrogate pair at {where}; expected a string of Unicode characters")
    return value


def past_instant(value: object, where: str, now: datetime) -> datetime:
    """Return the time that a value of a request states, in UTC.

    Raises
    ------
    Refusal
        If the value is no time with a zone, or the time is in the future of `now`.

    """
    instant = time_value(value, where)
    if is_ahead(instant, now):
        raise Refusal(
            f"found {shown(value)} at {where}, which is in the future; "
            f"the service's clock says {now:%Y-%m-%dT%H:%M:%SZ}"
        )
    return instant


def time_value(value: object, where: str) -> datetime:
    """Return the time that a value of a request states, in UTC.

    Raises
    ------
    Refusal
        If the value is no time with a zone.

    """
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        instant = None
    if instant is None:
        raise Refusal(f"found {shown(value)} at {where}; expected a time such as '1998-04-01T00:00:00Z'")
    if instant.tzinfo is None:
        raise Refusal(f"found {shown(value)} at {where}, which has no time zone; write it as '1998-04-01T00:00:00Z'")
    try:
        instant = instant.astimezone(UTC)
    except OverflowError:
        raise Refusal(f"found {shown(value)} at {where}; expected a time between the years 1 and 9999 UTC") from None
    return instant


def _example(key: EntityKey) -> str:
    """Compose an entity, for messages."""
    return json.dumps({key.name: "a-17" if key.dtype == "string" else 17})


def shown(value: object) -> str:
    """Return the JSON type and the shortened text of a value, for messages."""
    kinds = {dict: "an object", list: "a list", type(None): "null"}
    if type(value) in kinds:
        return kinds[type(value)]
    text = json.dumps(value[:_LONGEST_SHOWN] if isinstance(value, str) else value)
    kind = {bool: "the boolean", int: "the number", float: "the number", str: "the string"}[type(value)]
    return f"{kind} {text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + '...'}"
