"""Parse untrusted JSON in linear time: objects and values are counted before Python objects are built."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from serving.wire.refusals import NotJson, Refusal, TooLarge

#: A body up to this many bytes is parsed without counting; the count would take longer than the slowest parse.
_SMALL = 2**12
#: No valid request has more lists, nested or side by side.
_MAX_LISTS = 16
_TOO_DEEP = "nested too deeply or too many; expected an object with one list"
#: Splitting the text at this many strings takes two milliseconds.
_MANY_STRINGS = 20_000
#: Up to here, a float has every integer, so that none is read as its neighbour.
_LARGEST_EXACT = 2**53 - 1
#: Maximum digits of a number: 64 bits have 20; a float may be written with more.
_LONGEST_NUMBER = 500


@dataclass(frozen=True)
class Extent:
    """Limits for a body: the number of objects, and of values (names and members of objects and lists).

    Without them, a megabyte of brackets makes Python allocate 50 MB of objects, which blocks the event loop.
    """

    objects: int
    values: int


def parse_json(body: bytes, extent: Extent) -> object:
    """Return the parsed `body`.

    Raises
    ------
    NotJson, TooLarge, Refusal
        If it is not JSON in UTF-8, exceeds `extent`, repeats a name in an object, or has NaN or an infinity.

    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise NotJson(f"the body is not UTF-8: byte {error.start} is {body[error.start]:#04x}; send JSON") from None
    if len(body) > _SMALL:
        _check_extent(body, extent)
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_float,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as error:
        found = repr(text[error.pos : error.pos + 20]) if error.pos < len(text) else "its end"
        raise NotJson(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}, found {found}"
        ) from None
    except RecursionError:
        raise NotJson(f"the body has brackets that are {_TOO_DEEP}") from None


def _check_extent(body: bytes, extent: Extent) -> None:
    """Raise TooLarge or NotJson by the counts of brackets and commas outside of strings; each step is a pass in C."""
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    strings = unescaped.count(b'"') // 2
    _refuse_more(strings, max(_MANY_STRINGS, 2 * extent.values), "strings")
    outside = b"".join(unescaped.split(b'"')[::2])
    lists, objects = outside.count(b"["), outside.count(b"{")
    if max(lists, objects - outside.count(b"}")) > _MAX_LISTS:
        raise NotJson(f"the body has brackets that are {_TOO_DEEP}")
    _refuse_more(objects, extent.objects, "objects")
    _refuse_more(outside.count(b","), extent.values, "values")
    _refuse_more(strings, 2 * extent.values, "strings")


def _refuse_more(found: int, most: int, what: str) -> None:
    if found > most:
        raise TooLarge(f"found {found} {what} in the body; expected at most {most}, send several requests")


def _integer(digits: str) -> int:
    return int(_short(digits))


def _float(digits: str) -> float:
    """Return a number; one such as 1.0, which is an integer by JSON Schema, as an int if a float holds it exactly."""
    value = float(_short(digits))
    if abs(value) <= _LARGEST_EXACT and value.is_integer() and not digits.startswith("-0"):
        return int(value)
    return value


def _short(digits: str) -> str:
    if len(digits) > _LONGEST_NUMBER:
        raise NotJson("the body has a number with hundreds or thousands of digits; expected numbers of 64 bits")
    return digits


def _refuse_constant(found: str) -> None:
    raise NotJson(f"found {found} in the body; JSON has no such number, expected a finite one or null")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Refusal(
                    f"found {json.dumps(name[:60])} twice in one object of the body; expected every name once"
                )
            seen.add(name)
    return content
