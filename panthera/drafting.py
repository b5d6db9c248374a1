"""The input and output of `panthera draft`: questions to a person, a file of answers, the plan and its evidence."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from core.errors import PantheraError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from planner.draft.draft import Draft
    from planner.draft.sheet import Question

EVIDENCE = "plan.evidence.json"


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


def write_draft(draft: Draft, out: Path) -> None:
    """Write a plan and its evidence.

    Raises
    ------
    PantheraError
        If the file exists and is not the unchanged result of an earlier draft.

    """
    from core.files import write_whole

    evidence = out.parent / EVIDENCE
    if out.exists() and _digest(out.read_text(encoding="utf-8")) != _written(evidence):
        raise PantheraError(
            f"{out} was not written by a draft, or was changed since; name another file with --out, or move it away"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {**json.loads(draft.evidence), "plan_sha256": _digest(draft.text)}
    write_whole(out, draft.text)
    write_whole(evidence, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _written(evidence: Path) -> str | None:
    """Return the checksum of the plan that the last draft wrote to this folder."""
    try:
        return str(json.loads(evidence.read_text(encoding="utf-8"))["plan_sha256"])
    except (OSError, ValueError, KeyError):
        return None
