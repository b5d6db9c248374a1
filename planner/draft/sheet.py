"""A plan while it is drafted: its keys, the evidence for each key, and the questions that only a person can answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Evidence:
    """The evidence for the value of a key of the plan.

    Attributes
    ----------
    path : the dotted path of the key.
    why : the reason in words.
    query : SQL that computes the figure from a source, by the plan's names of columns; empty if there is none.
    source : the source of the query.
    figure : the result of the query.
    rows : the number of rows that the query reads.
    runner_up : the second-best value; empty if there is none.

    """

    path: str
    why: str
    query: str = ""
    source: str = ""
    figure: Any = None
    rows: int = 0
    runner_up: str = ""


@dataclass(frozen=True)
class Question:
    """A question with a default.

    Attributes
    ----------
    name : the key of the answer in a file of answers.
    asks : the text of the question.
    default, options : the assumed answer, and all possible answers.
    changes : what another answer changes.
    weight : how much of the plan the answer changes; questions are sorted by it, largest first.

    """

    name: str
    asks: str
    default: str
    options: tuple[str, ...]
    changes: str
    weight: int

    def to_dict(self) -> dict[str, Any]:
        """Return the question as JSON types."""
        return {**asdict(self), "options": list(self.options)}


@dataclass
class Sheet:
    """The drafted part of a plan."""

    answers: Mapping[str, str]
    plan: dict[str, Any] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(self, path: str, value: Any, why: str = "", **evidence: Any) -> None:
        """Set the key at a dotted path; record its evidence if a reason is given."""
        *parents, last = path.split(".")
        section = self.plan
        for key in parents:
            section = section.setdefault(key, {})
        section[last] = value
        if why:
            self.evidence.append(Evidence(path, why, **evidence))

    def ask(self, name: str, asks: str, default: str, options: Sequence[str], changes: str, weight: int) -> str:
        """Return the answer to a question: the given one, or else the default, which is recorded as an open question."""
        given = self.answers.get(name)
        if given is not None:
            return given
        if all(one.name != name for one in self.questions):
            self.questions.append(Question(name, asks, default, tuple(options), changes, weight))
        return default

    @property
    def open_questions(self) -> list[Question]:
        """The questions without an answer, those that change most first."""
        return sorted(self.questions, key=lambda question: (-question.weight, question.name))
