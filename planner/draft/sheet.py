"""A plan that is being drafted: its keys, the evidence of each, and the questions that only a person can answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Evidence:
    """Why a key of the plan has its value.

    Attributes
    ----------
    path : the key, with dots.
    why : in words.
    query : SQL over a source, whose columns have their plan names, that gives the figure; empty if there is none.
    source : the source of the query.
    figure : what the query gave.
    rows : the number of rows that it looked at.
    runner_up : the next best choice; empty if there is none.

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
    name : the key of its answer in a file of answers.
    asks : the question.
    default, options : the answer that was assumed, and all that are known.
    changes : what another answer changes.
    weight : how much of the plan it changes; questions are asked in descending order.

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
    """The plan as far as it is drafted."""

    answers: Mapping[str, str]
    plan: dict[str, Any] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(self, path: str, value: Any, why: str = "", **evidence: Any) -> None:
        """Set the key at a dotted path, with its evidence if there is a reason to state."""
        *parents, last = path.split(".")
        section = self.plan
        for key in parents:
            section = section.setdefault(key, {})
        section[last] = value
        if why:
            self.evidence.append(Evidence(path, why, **evidence))

    def ask(self, name: str, asks: str, default: str, options: Sequence[str], changes: str, weight: int) -> str:
        """Return the answer to a question: the given one, else the default, which is then noted as open."""
        given = self.answers.get(name)
        if given is not None:
            return given
        self.questions.append(Question(name, asks, default, tuple(options), changes, weight))
        return default

    @property
    def open_questions(self) -> list[Question]:
        """The questions without an answer, those that change most first."""
        return sorted(self.questions, key=lambda question: (-question.weight, question.name))
