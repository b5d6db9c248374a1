"""The terms of an experiment that runs in the service: arms, coverage, layer, holdout, target and technical limits.

Shares are whole numbers of 10,000 parts, as the buckets of the hash are.
"""

from __future__ import annotations

import operator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from core.errors import PantheraError
from core.experiment.assignment import BUCKETS, bucket, covered_arm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from core.contracts import Value

FORMAT_VERSION: Final = 1
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
OPERATORS: Final = tuple(_COMPARE)
#: What the name of an attribute of the request follows in a target.
ATTRIBUTE: Final = "attributes."


class ExperimentError(PantheraError):
    """An experiment cannot be changed as requested."""


@dataclass(frozen=True)
class RunningArm:
    """An arm: its name, the release that answers for it, and its weight among the arms."""

    name: str
    release: str
    weight: int = 1


@dataclass(frozen=True)
class Target:
    """A condition that a unit must meet to enter an experiment.

    It is on a feature, `view__feature`, or on an attribute of the request, `attributes.NAME`. A missing value meets no
    condition. Values of different types are equal to nothing, and neither less nor more.
    """

    feature: str
    comparison: str
    value: float | str | bool

    @property
    def attribute(self) -> str | None:
        """The name of the attribute of the request; None if the condition is on a feature.

        >>> Target("attributes.country", "=", "DE").attribute, Target("history__orders", ">=", 3.0).attribute
        ('country', None)
        """
        name = self.feature.removeprefix(ATTRIBUTE)
        return None if name == self.feature else name

    def matches(self, found: Value) -> bool:
        """Return whether a value meets the condition.

        >>> Target("history__orders", ">=", 3.0).matches(4), Target("history__orders", ">=", 3.0).matches(None)
        (True, False)
        """
        if found is None:
            return False
        try:
            return bool(_COMPARE[self.comparison](found, self.value))
        except TypeError:
            return False

    def __str__(self) -> str:
        """Return the condition as it is written on the command line."""
        return f"{self.feature} {self.comparison} {self.value}"


@dataclass(frozen=True)
class Limits:
    """The technical limits that an arm must keep; an arm that breaks one ends the experiment.

    Attributes
    ----------
    failed : accepted share of failed calls of the model beyond that of the control arm's; a vector that does not fit its
        contract counts as one.
    slowdown : accepted factor between the durations of the model's calls and those of the control arm's model.
    shift : accepted distance (Kolmogorov-Smirnov) between the scores of the arm and of the control arm; None sets no limit.

    """

    failed: float = 0.01
    slowdown: float = 4.0
    shift: float | None = None


@dataclass(frozen=True)
class Canary:
    """The steps of a canary: shares of the units (of 10,000) that the new release gets, then the champion's role."""

    steps: tuple[int, ...]
    hold_seconds: float


@dataclass(frozen=True)
class RunningTerms:
    """What all units of a phase share, and the part of them that has entered.

    Attributes
    ----------
    phase : number of the phase, from 1; its units are assigned with a salt of their own.
    coverage : part of each arm that is in the experiment; it only rises.
    layer, layer_from, layer_to : the part of a layer that the experiment occupies. The parts of running experiments of one
        layer are disjoint.
    holdout : part of the layer's units that enters no experiment with a holdout of at least this size.

    """

    arms: tuple[RunningArm, ...]
    salt: str
    phase: int = 1
    coverage: int = 0
    layer: str = "default"
    layer_from: int = 0
    layer_to: int = BUCKETS
    holdout: int = 0
    target: Target | None = None
    limits: Limits = Limits()
    canary: Canary | None = None

    @property
    def control(self) -> RunningArm:
        """The first arm, which the others are compared with."""
        return self.arms[0]

    @property
    def weights(self) -> list[tuple[str, int]]:
        """The arms and their weights, in order."""
        return [(arm.name, arm.weight) for arm in self.arms]

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases of the arms, each once."""
        return tuple(dict.fromkeys(arm.release for arm in self.arms))

    def bucket_of(self, entity: str) -> int:
        """Return the bucket by which the entity is assigned to an arm."""
        return bucket(self.salt, entity)

    def arm_of(self, entity: str) -> str | None:
        """Return the arm of an entity that meets the target; None if it is not in the experiment."""
        if not self.layer_from <= bucket(f"layer:{self.layer}", entity) < self.layer_to:
            return None
        if bucket(f"holdout:{self.layer}", entity) < self.holdout:
            return None
        return covered_arm(self.bucket_of(entity), self.weights, self.coverage)

    def to_json(self) -> dict[str, Any]:
        """Return the terms as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RunningTerms:
        """Return the terms that `to_json` returned as JSON values."""
        target, canary = content["target"], content["canary"]
        return cls(
            **{
                **content,
                "arms": tuple(RunningArm(**arm) for arm in content["arms"]),
                "target": Target(**target) if target else None,
                "limits": Limits(**content["limits"]),
                "canary": Canary(tuple(canary["steps"]), canary["hold_seconds"]) if canary else None,
            }
        )
