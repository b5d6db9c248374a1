"""The input and output of `panthera draft`: questions to a person, a file of answers, the plan and its evidence."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from core.errors import PantheraError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from planner.diff.merge import Merged
    from planner.draft.draft import Draft
    from planner.draft.sheet import Question

EVIDENCE = "plan.evidence.json"


@dataclass(frozen=True)
class Request:
    """What a draft is made of: the data, the line about the task, what is stated about it, and answers to questions."""

    data: tuple[str, ...]
    predict: str | None = None
    key: str | None = None
    time: str | None = None
    answers: dict[str, str] = field(default_factory=dict)


def read_answers(file: Path | None) -> dict[str, str]:
    """Read a file of answers, by the names of the questions.

    Raises
    ------
    PantheraError
        If it is not a file of answers.

    """
    if file is None:
        return {}
    from core.plan.yaml_text import load_yaml

    try:
        content: Any = load_yaml(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise PantheraError(f"{file} is not YAML: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise PantheraError(f"{file} has no answers; expected lines such as: key: id")
    return {
        key: ("yes" if value else "no") if isinstance(value, bool) else str(value) for key, value in content.items()
    }


def ask(questions: Sequence[Question]) -> dict[str, str]:
    """Ask a person at the terminal and return the answers; an empty line takes the default."""
    given: dict[str, str] = {}
    for question in questions:
        options = f" ({', '.join(question.options)})" if question.options else ""
        answer = input(f"{question.asks}{options} [{question.default}] ").strip()
        if answer:
            given[question.name] = answer
    return given


def request_of(arguments: argparse.Namespace, answers: Mapping[str, str]) -> Request:
    """Return what to draft: what the arguments state and, if they name no data, the rest from the last draft."""
    stated = {name: getattr(arguments, name) for name in ("predict", "key", "time")}
    if arguments.data:
        return Request(tuple(arguments.data), **stated, answers=dict(answers))
    from planner.check.evidence import read_evidence

    last = Request(**read_evidence(arguments.out.parent / EVIDENCE, "request")["request"])
    given = {name: value for name, value in stated.items() if value is not None}
    return replace(last, data=tuple(last.data), answers={**last.answers, **answers}, **given)


def write_draft(draft: Draft, request: Request, out: Path) -> Merged | None:
    """Write a plan and its evidence; return the merged plan if a person had changed the last draft.

    Raises
    ------
    PantheraError
        If the file exists and was not drafted, or the draft does not fit what a person changed in it.

    """
    from core.files import write_whole

    merged = _merged(draft, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {**json.loads(draft.evidence), "request": asdict(request), "draft": draft.text}
    write_whole(out, merged.text if merged else draft.text)
    write_whole(out.parent / EVIDENCE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return merged


def _merged(draft: Draft, out: Path) -> Merged | None:
    """Return the draft merged into the plan `out`; None if there is no plan, or nobody changed the last draft."""
    if not out.exists():
        return None
    from planner.check.evidence import read_evidence
    from planner.verbs import merge_draft

    try:
        last = str(read_evidence(out.parent / EVIDENCE, "draft")["draft"])
    except PantheraError:
        raise PantheraError(
            f"{out} was not written by a draft; name another file with --out, or move it away"
        ) from None
    plan = out.read_text(encoding="utf-8")
    return merge_draft(last, plan, draft) if plan != last else None


def not_taken(merged: Merged) -> RenderableType:
    """Compose for a terminal what was kept of a changed plan, and what the draft states otherwise."""
    from core.terminal import terminal_table

    title = f"kept {len(merged.touched)} keys that you changed since the last draft"
    table = terminal_table("key", "kept", "the draft says", title=f"{title}; of the draft not taken over:")
    for change in merged.not_taken:
        table.add_row(*change.cells())
    return table if merged.not_taken else title
