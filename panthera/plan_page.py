"""Generate `docs/plan.md` and `docs/plan.schema.json` from the plan's sections: `python -m panthera.plan_page` writes both."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.plan.section import Section
from panthera.plan_schema import NAMES_ALONE, VALUES, plan_schema, prose, sections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from panthera.plan_schema import Schema

_DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, SCHEMA = _DOCS / "plan.md", _DOCS / "plan.schema.json"
#: Maximum length of a JSON value on one line.
_WIDTH = 200
#: Headings of groups of kinds that several keys use, and a note on kinds that may be written as a name.
_HEADINGS = {"step": "Steps", "by": "Selectors"}
_ALONE = dict.fromkeys(NAMES_ALONE, " The name alone will do where no other key is required.")
_BOUNDS = {"minimum": "\u2265", "exclusiveMinimum": ">", "maximum": "\u2264", "exclusiveMaximum": "<"}
_TYPES = {"string": "text", "integer": "integer", "number": "number", "null": "null", "": "any value"}

_HEAD = """<!-- Made by `python -m panthera.plan_page` from the sections in core/plan: change those, and run it again. -->

# The plan

`params.yaml` is the program. This page lists every key that it may have; in a path, NAME is a name of yours. A key
without a default is required. `panthera plan` checks a plan and names each fault with its place.

Editors complete and check a plan by [plan.schema.json](plan.schema.json). The first line of a plan names it:

```yaml
# yaml-language-server: $schema=docs/plan.schema.json
```

For a plan in another folder, `panthera plan --schema > plan.schema.json` writes the schema beside it.

## Values

| value | meaning |
| --- | --- |"""


#: The subject of a heading: the name of a section, or a group of kinds by their discriminating key.
_Subject = str | tuple[str, ...]
#: Names of sections by the value that selects them.
_Kinds = dict[str, str]


def page() -> str:
    """Return the page: a heading and a table for every section of the plan, in the plan's order."""
    values = [f"| {name} | {_cell(value['description'])} {_words(value)} |" for name, value in VALUES.items()]
    return "\n".join([_HEAD, *values, *_Writer(plan_schema()).lines()]) + "\n"


def schema_text() -> str:
    """Return the text of the JSON schema of plans."""
    return _json_text(plan_schema()) + "\n"


class _Writer:
    """Writes the description of each section once, below the first section that uses it; other sections link to it."""

    def __init__(self, schema: Schema) -> None:
        self._plan = schema
        self._parts: dict[str, Schema] = schema["definitions"]
        self._classes = sections()
        self._groups, self._uses = _groups(self._parts)
        self._headings: dict[_Subject, str] = {}
        self._pending: list[Iterator[str]] = []

    def lines(self) -> Iterator[str]:
        """Yield the lines of all sections."""
        for key, part in self._plan["properties"].items():
            self._takes(part, key)
            yield from self._descriptions("##")
            if key not in self._plan["required"]:
                yield from ("", f"`{key}` may be left out.")

    def _descriptions(self, level: str) -> Iterator[str]:
        """Yield the pending descriptions, each followed by the descriptions of the sections that it uses."""
        pending, self._pending = self._pending, []
        for description in pending:
            yield from (f"{level}{line[1:]}" if line.startswith("# ") else line for line in description)
            yield from self._descriptions("###")

    def _section(self, name: str, heading: str) -> Iterator[str]:
        yield from ("", f"# {heading}", "", prose(self._classes[name]))
        yield from self._table(heading, self._parts[name], self._parts[name]["properties"])

    def _table(self, path: str, part: Schema, keys: Iterable[str]) -> Iterator[str]:
        yield from ("", "| key | takes | default | meaning |", "| --- | --- | --- | --- |")
        for key in keys:
            value = part["properties"][key]
            default = "" if key in part.get("required", ()) else _default(value)
            yield f"| `{key}` | {self._takes(value, f'{path}.{key}')} | {default} | {_cell(value['description'])} |"

    def _kinds(self, group: tuple[str, ...], heading: str) -> Iterator[str]:
        key, kinds = group[0], self._groups[group]
        yield from ("", f"# {heading}", "", f"The key `{key}` chooses one of these." + _ALONE.get(key, ""), "")
        yield from (f"| `{key}` | meaning | other keys |", "| --- | --- | --- |")
        for kind, name in kinds.items():
            uses = f"For {', '.join(self._uses[group][kind])}. " if key in _ALONE else ""
            keys = "<br>".join(self._key_of_kind(name, own, heading) for own in self._own_keys(name, key))
            yield f"| `{kind}` | {uses}{_cell(prose(self._classes[name]))} | {keys} |"
        for base, names in self._bases(kinds).items():
            part = self._parts[kinds[names[0]]]
            yield from ("", f"Keys of {', '.join(f'`{kind}`' for kind in names)}: {_lower(_cell(prose(base)))}")
            yield from self._table(heading, part, [own for own in base.__annotations__ if own != key])

    def _key_of_kind(self, name: str, key: str, path: str) -> str:
        part = self._parts[name]
        value = part["properties"][key]
        default = "" if key in part["required"] else f", default {_default(value)}"
        return f"`{key}`: {self._takes(value, f'{path}.{key}')}{default}. {_cell(value['description'])}"

    def _own_keys(self, name: str, key: str) -> list[str]:
        declared = {own for base in _shared_bases(self._classes[name]) for own in base.__annotations__}
        return [own for own in self._parts[name]["properties"] if own != key and own not in declared]

    def _bases(self, kinds: _Kinds) -> dict[type[Section], list[str]]:
        """Return the base sections whose keys several kinds have, each with the names of these kinds."""
        shared: dict[type[Section], list[str]] = {}
        for kind, name in kinds.items():
            for base in _shared_bases(self._classes[name]):
                shared.setdefault(base, []).append(kind)
        return shared

    def _takes(self, part: Schema, path: str) -> str:
        """Return the text for the values of a key; `path` becomes the heading of a section that is not described yet."""
        if choice := _choice(part):
            group = _group(*choice)
            return self._link(group, _HEADINGS.get(group[0], path), partial(self._kinds, group))
        if name := _reference(part):
            return f"[{name}](#values)" if name in VALUES else self._link(name, path, partial(self._section, name))
        if "else" in part:
            return self._takes(part["else"], path)
        if several := [kind for kind in part.get("anyOf") or part.get("oneOf") or () if kind != {"type": "null"}]:
            return self._several(several, path)
        return {"array": self._list, "object": self._mapping}.get(part.get("type", ""), _scalar)(part, path)

    def _several(self, kinds: Sequence[Schema], path: str) -> str:
        named = [f"{path} ({name.lower()})" if (name := _reference(kind)) else path for kind in kinds]
        words = dict.fromkeys(self._takes(kind, name) for kind, name in zip(kinds, named, strict=True))
        return " or ".join(word for word in words if not (word == "integer" and "number" in words))

    def _list(self, part: Schema, path: str) -> str:
        if isinstance(part["items"], list):
            return f"[{', '.join(self._takes(item, path) for item in part['items'])}]"
        return f"list of {self._takes(part['items'], path)}"

    def _mapping(self, part: Schema, path: str) -> str:
        if "patternProperties" in part:
            (value,) = part["patternProperties"].values()
            return f"by name: {self._takes(value, f'{path}.NAME')}"
        names = self._takes(part["propertyNames"], path) if "propertyNames" in part else "text"
        return f"by {names}: {self._takes(part['additionalProperties'], f'{path}.NAME')}"

    def _link(self, subject: _Subject, path: str, describe: Callable[[str], Iterator[str]]) -> str:
        if subject not in self._headings:
            self._headings[subject] = path
            self._pending.append(describe(path))
        heading = self._headings[subject]
        return f"[{heading}](#{re.sub(r'[^a-z0-9_ -]', '', heading.lower()).replace(' ', '-')})"


def _groups(
    parts: dict[str, Schema],
) -> tuple[dict[tuple[str, ...], _Kinds], dict[tuple[str, ...], dict[str, list[str]]]]:
    """Return the kinds of each group, and the keys that use each kind."""
    groups: dict[tuple[str, ...], _Kinds] = {}
    uses: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for part in parts.values():
        for own, value in part.get("properties", {}).items():
            for key, kinds in _choices(value):
                groups.setdefault(_group(key, kinds), {}).update(kinds)
                for kind in kinds:
                    places = uses.setdefault(_group(key, kinds), {}).setdefault(kind, [])
                    places += [] if own in places else [own]
    return groups, uses


def _group(key: str, kinds: _Kinds) -> tuple[str, ...]:
    """Return the identity of a group of kinds; all kinds of step are one group, whichever key uses them."""
    return (key,) if key in NAMES_ALONE else (key, *kinds)


def _choices(part: Any) -> Iterator[tuple[str, _Kinds]]:
    """Yield every choice between kinds in a schema, at any depth."""
    if choice := _choice(part) if isinstance(part, dict) else None:
        yield choice
    elif isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _choices(inner)


def _choice(part: Schema) -> tuple[str, _Kinds] | None:
    """Return the discriminating key and its kinds; None if the schema is not a choice between kinds."""
    part = part["else"] if "then" in part else part
    branches = [branch for branch in part.get("allOf", ()) if "if" in branch]
    if not branches:
        return None
    (key,) = part["properties"]
    return key, {branch["if"]["properties"][key]["const"]: _name(branch["then"]) for branch in branches}


def _reference(part: Schema) -> str | None:
    alone = part["allOf"][0] if "allOf" in part else part
    return _name(alone) if "$ref" in alone else None


def _name(reference: Schema) -> str:
    return str(reference["$ref"].rpartition("/")[2])


def _shared_bases(section: type[Section]) -> list[type[Section]]:
    return [base for base in section.__mro__ if issubclass(base, Section) and base.__name__.startswith("_")]


def _words(part: Schema) -> str:
    return ", ".join(f"`{word}`" for word in part.get("enum", [part["const"]] if "const" in part else ()))


def _scalar(part: Schema, _path: str) -> str:
    if "const" in part or "enum" in part:
        return _words(part)
    if part.get("type") == "boolean":
        return "`true`, `false`"
    bounds = [f"{sign} {part[bound]:g}" for bound, sign in _BOUNDS.items() if bound in part]
    return " ".join([_TYPES[part.get("type", "")], *bounds])


def _default(part: Schema) -> str:
    default = part.get("default")
    if not default and not isinstance(default, int | float):
        return "none"
    if isinstance(default, dict):
        return "as below"
    if isinstance(default, list) and isinstance(default[0], dict):
        default = [next(step[key] for key in NAMES_ALONE if key in step) for step in default]
    return f"`{default if isinstance(default, str) else json.dumps(default)}`".replace('"', "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _lower(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"


def _json_text(value: Any, indent: str = "") -> str:
    """Return JSON with each value on one line if it fits, else indented."""
    short = json.dumps(value)
    if not isinstance(value, dict | list) or len(indent) + len(short) <= _WIDTH:
        return short
    deeper = f"{indent} "
    if isinstance(value, list):
        return "[\n" + ",\n".join(deeper + _json_text(item, deeper) for item in value) + f"\n{indent}]"
    entries = [f"{deeper}{json.dumps(key)}: {_json_text(item, deeper)}" for key, item in value.items()]
    return "{\n" + ",\n".join(entries) + f"\n{indent}}}"


def main() -> None:
    """Write `docs/plan.md` and `docs/plan.schema.json`."""
    PAGE.write_text(page())
    SCHEMA.write_text(schema_text())
    print(f"wrote {PAGE.name} and {SCHEMA.name} in {_DOCS}")


if __name__ == "__main__":
    main()
