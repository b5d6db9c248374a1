"""A YAML loader that refuses what YAML 1.1 and 1.2 read differently, and duplicate keys.

PyYAML reads YAML 1.1; DVC, which decides which stages to run again, reads 1.2. `on` is true in 1.1 and a text in 1.2; 010 is
8 in 1.1 and 10 in 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_BOOL, _FLOAT, _INT, _STR = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "str"))
_SEVERAL_KINDS = frozenset({_BOOL, _FLOAT, _INT, _STR})
#: The types of plain scalars in YAML 1.2, in the order in which DVC's parser tries them; other types are as in 1.1.
_KINDS_OF_1_2 = (
    (_BOOL, re.compile(r"true|True|TRUE|false|False|FALSE")),
    (
        _FLOAT,
        re.compile(
            r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
            r"|[-+]?\.[0-9_]+([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
    ),
    (_INT, re.compile(r"[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+")),
)
_OCTAL_IN_1_1 = re.compile(r"[-+]?0[0-7_]+")
_WORDS = {_BOOL: "a truth value", _FLOAT: "a number", _INT: "a number", _STR: "a text"}
#: Characters that end a line in YAML 1.1 and not in 1.2.
_LINE_BREAKS_OF_1_1 = re.compile("[\x85\u2028\u2029]")


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys, and scalars that YAML 1.1 and 1.2 read differently."""

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        is_plain = self.peek_event().implicit[0]  # type: ignore[no-untyped-call]
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if is_plain and (reason := _difference(node.tag, node.value)):
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)
        return node


def _difference(kind: str, text: str) -> str | None:
    """Compose the error for a plain scalar of `kind` in YAML 1.1 that 1.2 reads differently; None if both read the same."""
    if kind not in _SEVERAL_KINDS:
        return None
    kind_1_2 = next((tag for tag, pattern in _KINDS_OF_1_2 if text and pattern.fullmatch(text)), _STR)
    if kind != kind_1_2:
        found = f"{_WORDS[kind]} in YAML 1.1 and {_WORDS[kind_1_2]} in YAML 1.2"
    elif kind == _INT and _OCTAL_IN_1_1.fullmatch(text) and _number(text, 8) != _number(text, 10):
        found = f"{_number(text, 8)} in YAML 1.1 and {_number(text, 10)} in YAML 1.2"
    else:
        return None
    return f"{text!r} is {found}, which DVC reads; put a text in quotes, write true or false, 8, or 1.0e+3"


def _number(text: str, base: int) -> int:
    return int(text.replace("_", ""), base)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, yaml.Mark] = {}
    for key_node, _ in node.value:
        is_merge = key_node.tag == "tag:yaml.org,2002:merge"
        key = "<<" if is_merge else loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"the key {key!r} is also in line {seen[key].line + 1}; keep one",
                key_node.start_mark,
            )
        seen[key] = key_node.start_mark
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_yaml(text: str) -> Any:
    """Return the content of a YAML text that YAML 1.1 and 1.2 read alike.

    Raises
    ------
    ValueError
        If it is not YAML, has a duplicate key, or is read differently; the message names the line.

    """
    if found := _LINE_BREAKS_OF_1_1.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(
            f"line {line} has the character U+{ord(found[0]):04X}, which ends a line in YAML 1.1 and not in YAML 1.2, which "
            "DVC reads; take it out, or write it as an escape in double quotes"
        )
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from SafeLoader
    except RecursionError:
        raise ValueError("it is nested too deeply, or an alias contains itself") from None
    except (yaml.YAMLError, ValueError) as error:  # PyYAML lets a ValueError through, as for 1998-13-45
        raise ValueError(" ".join(str(error).replace('in "<unicode string>", ', "in ").split())) from None
