"""Compose the document of a plan: every section of a project plan, from the plan itself and the results of its last run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.plan.yaml_text import load_yaml
from planner.document import data, models, results
from planner.document.parts import Document, Stated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.plan.plan import Plan
    from planner.document.parts import Chapter
    from planner.document.results import Results


def document_of(plan: Plan, text: str, found: Results, test: Sequence[Chapter] = ()) -> Document:
    """Return the document of `plan`, whose text is `text`, with what its last run has measured and its A/B `test`, if known."""
    stated = Stated(load_yaml(text))
    chapters = (
        data.problem(plan, stated),
        data.data(plan, stated),
        data.features(plan),
        data.examples(plan, stated),
        models.candidates(plan, stated),
        models.evaluation(plan, stated),
        *test,
        models.release(plan, stated),
        models.monitoring(plan, stated),
        results.risks(plan, found),
        results.questions(plan, stated),
        results.outcome(plan, found),
    )
    return Document(f"Project plan: {plan.project.name}", chapters, text)
