"""The key `tune`: the hyperparameter search of a candidate."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from core.plan.section import Section

Count = Annotated[int, Field(ge=1)]
Number = int | float


class Range(Section):
    """Numbers from `low` to `high`, integers if both bounds are; `log` samples uniformly on the logarithmic scale."""

    low: Number
    """Smallest value."""
    high: Number
    """Largest value."""
    log: bool = False
    """Search on a logarithmic scale."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and not self.low > 0:
            raise ValueError(f"a logarithmic range starts above 0, found low {self.low}")
        return self


class Choices(Section):
    """One of these values."""

    values: Annotated[tuple[Any, ...], Field(strict=False, min_length=1)]
    """Values to choose from."""


def _kind(value: Any) -> str:
    """Return the tag of a search space by its keys, so that a fault in it is reported for one kind only."""
    is_choices = isinstance(value, Choices) or (isinstance(value, dict) and "values" in value)
    return "choices" if is_choices else "range"


Searched = Annotated[Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)]


class Tune(Section):
    """The search over a candidate's keys, each by its dotted path, such as `params.num_leaves`.

    The objective is the log loss, or the RMSE for a regression, or the candidate's own `loss`. It is measured on the
    validation rows or, with `folds`, as the mean over folds of the training rows. The folds are of the same kind as the split;
    temporal ones have its gap. `prune` stops a trial that is worse than the median of the earlier trials at the same round.
    No trial starts after `trials`, or once the trials have taken `seconds` in total; trials finished before an interrupted
    run count.
    """

    search: Annotated[dict[str, Searched], Field(min_length=1)]
    """Values to try, by dotted path of a key of the candidate, such as `params.num_leaves`."""
    sampler: Literal["grid", "random", "tpe"] = "tpe"
    """How values are drawn: all combinations, at random, or by the Tree-structured Parzen Estimator."""
    trials: Count = 30
    """Largest number of trials."""
    seconds: Count | None = None
    """Time after which no trial begins."""
    prune: bool = True
    """Whether to stop a trial that is worse than the median of the earlier ones at the same round."""
    folds: Count = 1
    """Folds of the training rows; 1 measures on the validation rows."""

    @model_validator(mode="after")
    def _has_a_grid(self) -> Self:
        ranges = [path for path, values in self.search.items() if isinstance(values, Range)]
        if self.sampler == "grid" and ranges:
            raise ValueError(f"a grid needs the values of {ranges[0]} one by one, as in {{values: [1, 2]}}")
        return self
