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
_NEITHER: frozenset[Kind] = frozenset()
_MODEL: frozenset[Kind] = frozenset({"model"})
_BOTH: frozenset[Kind] = frozenset({"data", "model"})
_TITLES: Mapping[Kind, str] = {"plan": "Project plan", "data": "Data card", "model": "Model card"}


def document_of(plan: Plan, text: str, found: Results, test: Sequence[Chapter] = (), kind: Kind = "plan") -> Document:
    """Return the document of `plan`, whose text is `text`, with what its last run has measured and its A/B `test`, if known.

    A model card has the parts that Mitchell et al. (2019), Model Cards for Model Reporting, ask for: intended use, the data
    of training and evaluation, metrics, results with those of groups, and what to be careful about.
    """
    stated = Stated(load_yaml(text))
    chapters: tuple[tuple[Chapter, frozenset[Kind]], ...] = (
        (data.problem(plan, stated), _BOTH),
        (data.data(plan, stated), frozenset({"data"})),
        (data.features(plan), _BOTH),
        (data.examples(plan, stated), _BOTH),
        (models.candidates(plan, stated), _MODEL),
        (models.evaluation(plan, stated), _MODEL),
        *((chapter, _NEITHER) for chapter in test),
        (models.release(plan, stated), _MODEL),
        (models.monitoring(plan, stated), _NEITHER),
        (results.risks(plan, found), _BOTH),
        (results.questions(plan, stated), _NEITHER),
        (results.outcome(plan, found), _MODEL),
        *((chapter, _MODEL) for chapter in results.groups(plan, found)),
    )
    chosen = tuple(chapter for chapter, kinds in chapters if kind == "plan" or kind in kinds)
    return Document(f"{_TITLES[kind]}: {plan.project.name}", chosen, text)
