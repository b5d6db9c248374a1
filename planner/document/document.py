"""Compose the document of a plan: every section of a project plan, from the plan itself and the results of its last run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from core.plan.yaml_text import load_yaml
from planner.document import data, models, results
from planner.document.parts import Document, Stated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.plan.plan import Plan
    from planner.document.parts import Chapter
    from planner.document.results import Results


#: `plan` is the whole document, the others are its chapters about the data and about the model.
Kind = Literal["plan", "data", "model"]
_TITLES: Mapping[Kind, str] = {"plan": "Project plan", "data": "Data card", "model": "Model card"}


def document_of(plan: Plan, text: str, found: Results, test: Sequence[Chapter] = (), kind: Kind = "plan") -> Document:
    """Return the document of `plan`, whose text is `text`, with what its last run has measured and its A/B `test`, if known.

    A model card has the parts that Mitchell et al. (2019), Model Cards for Model Reporting, ask for: intended use, the data
    of training and evaluation, metrics, results with those of groups, and what to be careful about.
    """
    stated = Stated(load_yaml(text))
    chapters: tuple[tuple[Chapter, frozenset[Kind]], ...] = (
        (data.problem(plan, stated), frozenset({"data", "model"})),
        (data.data(plan, stated), frozenset({"data"})),
        (data.features(plan), frozenset({"data", "model"})),
        (data.examples(plan, stated), frozenset({"data", "model"})),
        (models.candidates(plan, stated), frozenset({"model"})),
        (models.evaluation(plan, stated), frozenset({"model"})),
        *((chapter, frozenset()) for chapter in test),
        (models.release(plan, stated), frozenset({"model"})),
        (models.monitoring(plan, stated), frozenset()),
        (results.risks(plan, found), frozenset({"data", "model"})),
        (results.questions(plan, stated), frozenset()),
        (results.outcome(plan, found), frozenset({"model"})),
        *((chapter, frozenset[Kind]({"model"})) for chapter in results.groups(plan, found)),
    )
    chosen = tuple(chapter for chapter, kinds in chapters if kind == "plan" or kind in kinds)
    return Document(f"{_TITLES[kind]}: {plan.project.name}", chosen, text)
