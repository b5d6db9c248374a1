"""The text of a drafted plan: YAML with the evidence of each key as a comment above it."""

from __future__ import annotations

import re
from io import StringIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, SingleQuotedScalarString

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from planner.draft.sheet import Question, Sheet

_WIDTH = 110
#: Texts that YAML reads as they are, in every version.
_PLAIN = re.compile(r"[A-Za-z][\w.*/-]*( [A-Za-z][\w.*/-]*)*")
_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n", "none", "nan", "inf"})
#: The sections, in their order in a plan.
_SECTIONS = (
    *("project", "entities", "ingest", "validate", "label", "build_features", "training_set", "train", "evaluate"),
    *("register", "materialize", "serve", "monitor"),
)
#: Depth from which on mappings are written on one line.
_INLINE = {
    "entities": 1,
    "ingest": 3,
    "validate": 3,
    "training_set": 3,
    "build_features": 4,
    "train": 2,
    "evaluate": 1,
    "serve": 1,
    "label": 2,
}


def plan_text(sheet: Sheet) -> str:
    """Compose the text of a plan."""
    reasons = {one.path: one.why for one in sheet.evidence}
    parents = {parent for path in reasons for parent in _parents(path)}
    root = CommentedMap()
    for name in _SECTIONS:
        if name in sheet.plan:
            root[name] = _block(sheet.plan[name], name, 1, reasons, parents)
            _comment(root, name, reasons.get(name), 0)
    out = StringIO()
    yaml = YAML()
    yaml.width, yaml.default_flow_style = _WIDTH, False
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(root, out)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join([*_head(sheet), "", *lines, ""])


def _head(sheet: Sheet) -> list[str]:
    lines = ["# Drafted by `panthera draft`; each comment says why a line is so, plan.evidence.json how it was found."]
    for question in sheet.open_questions:
        lines += _lines(_asked(question))
    for note in sheet.notes:
        lines += _lines(note)
    return [f"# {line}" if not line.startswith("#") else line for line in lines]


def _asked(question: Question) -> str:
    options = f" ({', '.join(question.options)})" if question.options else ""
    return f"TODO {question.name}: {question.asks}{options} Assumed: {question.default}. It changes {question.changes}."


def _lines(text: str) -> list[str]:
    return wrap(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _parents(path: str) -> Iterator[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _block(value: Any, path: str, depth: int, reasons: Mapping[str, str], parents: Collection[str]) -> Any:
    """Return a value as YAML text; mappings below some depth are on one line, unless a key in them has a reason."""
    if not isinstance(value, dict):
        return _scalar_or_list(value)
    made = CommentedMap()
    inline = depth > _INLINE.get(path.split(".", maxsplit=1)[0], 1) and path not in parents
    for key, each in value.items():
        made[_scalar(key)] = _block(each, f"{path}.{key}", depth + 1, reasons, parents)
        if not inline:
            _comment(made, key, reasons.get(f"{path}.{key}"), 2 * depth)
    if inline:
        made.fa.set_flow_style()
    return made


def _comment(section: CommentedMap, key: str, reason: str | None, indent: int) -> None:
    if reason:
        section.yaml_set_comment_before_after_key(key, before="\n".join(_lines(reason)), indent=indent)


def _scalar_or_list(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        return _scalar(value)
    made = CommentedSeq([_scalar_or_list(each) for each in value])
    made.fa.set_flow_style()
    return made


def _scalar(value: Any) -> Any:
    if not isinstance(value, str) or (_PLAIN.fullmatch(value) and value.lower() not in _WORDS):
        return value
    is_double = '"' not in value or "'" in value or not value.isprintable()
    return DoubleQuotedScalarString(value) if is_double else SingleQuotedScalarString(value)
