"""The JSON schema of a plan, generated from its sections; editors use it for completion, descriptions and validation."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from core.plan.evaluate import Metric
from core.plan.plan import Plan
from core.plan.section import NAME, Section
from core.plan.times import CADENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Schema = dict[str, Any]

#: The draft with the best support in editors.
DRAFT = "http://json-schema.org/draft-07/schema#"
#: Types of values that many keys share; `#/definitions/NAME`.
VALUES: Mapping[str, Schema] = {
    "name": {
        "type": "string",
        "pattern": NAME,
        "maxLength": 40,
        "description": "A name: small letters, digits and underscores, such as orders_30d.",
    },
    "instant": {
        "type": "string",
        "pattern": r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)? ?(Z|[+-]\d{2}:?\d{2}))?$",
        "description": "An instant: a date in UTC such as 2024-05-01, or a time with its zone such as 2024-05-01T12:00:00Z.",
    },
    "duration": {
        "type": "string",
        "pattern": r"^[1-9]\d*\s*(s|m|h|d|w)$",
        "description": "A length of time such as 90d; the units are s, m, h, d and w.",
    },
    "cadence": {
        "type": "string",
        "pattern": CADENCE,
        "description": "A distance between instants such as 1 month or 6h; the units are minute (m), hour (h), day (d), "
        "week (w), month, quarter and year.",
    },
    "metric": {"type": "string", "enum": list(get_args(Metric)), "description": "A measure of predictions."},
}
_BY_PATTERN = {VALUES[name]["pattern"]: name for name in ("name", "cadence")}
_BY_FORMAT = {"date-time": "instant", "duration": "duration"}
_ATTRIBUTES = "Attributes\n----------\n"
_REFERENCE = "$ref"
#: Keys whose values are schemas by name, and keys that are left out: not in draft 7, or not useful in an editor.
_BY_KEY = frozenset({"properties", "patternProperties"})
_LEFT_OUT = frozenset({"title", "discriminator", "default"})
#: A section that one of these keys discriminates may be written as only the name of its kind.
NAMES_ALONE = frozenset({"step", "by"})


@cache
def plan_schema() -> Schema:
    """Return the schema of a plan, with a description of every key."""
    raw = Plan.model_json_schema(ref_template="#/definitions/{model}")
    classes, parts = sections(), raw.pop("$defs")
    whole = _of_editor(_described(raw, Plan), parts)
    definitions = {name: _of_editor(_described(part, classes[name]), parts) for name, part in parts.items()}
    head = {"$schema": DRAFT, "title": "A plan of PantheraPredict"}
    return {**head, **whole, "definitions": {**VALUES, **definitions}}


def sections() -> dict[str, type[Section]]:
    """Return the classes of the plan's sections by name, base classes included."""
    return {section.__name__: section for section in _subclasses(Section)}


def _subclasses(base: type[Section]) -> Iterator[type[Section]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def prose(section: type[Section]) -> str:
    """Return the docstring of a section without its list of attributes."""
    return inspect.cleandoc(section.__doc__ or "").partition(_ATTRIBUTES)[0].strip()


def key_descriptions(section: type[Section]) -> dict[str, str]:
    """Return the descriptions of a section's keys: the string below each key, or its line in `Attributes`."""
    texts: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if issubclass(base, Section):
            texts |= _listed(base) | _under_keys(base)
    return {field.alias or name: texts[name] for name, field in section.model_fields.items() if name in texts}


def _listed(section: type[Section]) -> dict[str, str]:
    listed = inspect.cleandoc(section.__doc__ or "").partition(_ATTRIBUTES)[2]
    entries = re.findall(r"^([\w, ]+) : (.*(?:\n +.*)*)", listed, flags=re.MULTILINE)
    return {name.strip(): _sentence(text) for names, text in entries for name in names.split(",")}


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:]


def _under_keys(section: type[Section]) -> dict[str, str]:
    body = _classes_of(inspect.getfile(section))[section.__name__].body
    return {
        key.target.id: _sentence(text.value.value)
        for key, text in pairwise(body)
        if isinstance(key, ast.AnnAssign)
        and isinstance(key.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@cache
def _classes_of(file: str) -> dict[str, ast.ClassDef]:
    """Return the syntax trees of the classes of a module, by name."""
    return {node.name: node for node in ast.parse(Path(file).read_text()).body if isinstance(node, ast.ClassDef)}


def _described(schema: Schema, section: type[Section]) -> Schema:
    keys = key_descriptions(section)
    properties = {
        key: {**part, "description": keys[key]} if key in keys else part for key, part in schema["properties"].items()
    }
    return {**schema, "description": prose(section), "properties": properties}


def _of_editor(schema: Any, parts: Mapping[str, Schema]) -> Any:
    """Return a schema in draft 7 whose errors name the faulty key instead of a failed union."""
    if isinstance(schema, list):
        return [_of_editor(part, parts) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner: Schema = {
        key: {name: _of_editor(part, parts) for name, part in value.items()}
        if key in _BY_KEY
        else _of_editor(value, parts)
        for key, value in schema.items()
        if key not in _LEFT_OUT
    }
    rest = {"default": schema["default"]} if "default" in schema else {}
    return {**_choice(schema, _nullable(_closed(_shared(_tuple(inner)))), parts), **rest}


def _shared(schema: Schema) -> Schema:
    """Return a reference to a shared type of values, keeping the description next to a reference."""
    kind = _BY_PATTERN.get(schema.get("pattern", "")) or _BY_FORMAT.get(schema.get("format", ""))
    kind = "metric" if schema.get("enum") == VALUES["metric"]["enum"] else kind
    description = {"description": schema["description"]} if "description" in schema else {}
    if kind:
        return {"allOf": [{_REFERENCE: f"#/definitions/{kind}"}], **description}
    if _REFERENCE in schema and len(schema) > 1:
        return {"allOf": [{_REFERENCE: schema[_REFERENCE]}], **description}
    return schema


def _tuple(schema: Schema) -> Schema:
    if "prefixItems" not in schema:
        return schema
    rest = {key: part for key, part in schema.items() if key != "prefixItems"}
    return {**rest, "items": schema["prefixItems"], "additionalItems": False}


def _closed(schema: Schema) -> Schema:
    """Return the schema with only the keys that match `patternProperties` allowed."""
    return {**schema, "additionalProperties": False} if "patternProperties" in schema else schema


def _nullable(schema: Schema) -> Schema:
    """Return an optional section as if/else instead of anyOf, so that errors name the faulty key of the section."""
    kinds = schema.get("anyOf", [])
    if len(kinds) != 2 or {"type": "null"} not in kinds:  # noqa: PLR2004
        return schema
    rest = {key: part for key, part in schema.items() if key != "anyOf"}
    (kind,) = (kind for kind in kinds if kind != {"type": "null"})
    return {**rest, "if": {"type": "null"}, "else": kind}


def _choice(raw: Schema, schema: Schema, parts: Mapping[str, Schema]) -> Schema:
    """Return a choice of kinds by the discriminating key; allow the name alone where no other key is required."""
    if "discriminator" not in raw:
        return schema
    rest = {key: part for key, part in schema.items() if key != "oneOf"}
    key, mapping = raw["discriminator"]["propertyName"], raw["discriminator"]["mapping"]
    section = {
        "type": "object",
        "required": [key],
        "properties": {key: {"enum": list(mapping)}},
        "allOf": [
            {"if": {"required": [key], "properties": {key: {"const": kind}}}, "then": {_REFERENCE: target}}
            for kind, target in mapping.items()
        ],
    }
    if key not in NAMES_ALONE:
        return {**rest, **section}
    names = [kind for kind, target in mapping.items() if parts[target.rpartition("/")[2]]["required"] == [key]]
    return {**rest, "if": {"type": "string"}, "then": {"enum": names}, "else": section}
