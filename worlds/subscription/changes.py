"""Changes that can be injected into the world: shifts, broken feeds and leaks."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from worlds.subscription.coefficients import HazardCoefficients
from worlds.subscription.section import Rate, Section
from worlds.subscription.tables import TABLES


class Change(Section):
    """A change from the first instant of month `start_month` (0 = the first) until month `end_month`, exclusive."""

    start_month: int = Field(ge=0)
    end_month: int | None = Field(default=None, description="the first month without the change; None: it stays")

    def active(self, month: int) -> bool:
        """Return whether the change is active in `month`."""
        return self.start_month <= month and (self.end_month is None or month < self.end_month)


class CovariateShift(Change):
    """Customers of the named segments use the service `minutes_factor` times as long on each day of use."""

    kind: Literal["covariate_shift"] = "covariate_shift"
    segments: tuple[str, ...] = Field(min_length=1)
    minutes_factor: float = Field(gt=0, le=10)


class ConceptShift(Change):
    """The hazard's coefficient of `term` becomes `coefficient`."""

    kind: Literal["concept_shift"] = "concept_shift"
    term: str
    coefficient: float

    @model_validator(mode="after")
    def _know_the_term(self) -> Self:
        if self.term not in HazardCoefficients.model_fields:
            known = ", ".join(HazardCoefficients.model_fields)
            raise ValueError(f"term: {self.term!r} is not a term of the hazard; expected one of {known}")
        return self


class ColumnMissing(Change):
    """A broken feed: `column` of `table` is null in this share of the records."""

    kind: Literal["column_missing"] = "column_missing"
    table: str
    column: str
    share: Rate = 1.0

    @model_validator(mode="after")
    def _know_the_column(self) -> Self:
        _require_one_of(self.table, self.column, {name: spec.may_be_missing for name, spec in TABLES.items()})
        return self


class UnitChange(Change):
    """A broken feed: `column` of `table` is recorded in another unit, `factor` times the number it was."""

    kind: Literal["unit_change"] = "unit_change"
    table: str
    column: str
    factor: float = Field(gt=0, le=100)

    @model_validator(mode="after")
    def _know_the_column(self) -> Self:
        _require_one_of(self.table, self.column, {name: spec.measured for name, spec in TABLES.items()})
        return self


class BackdatedTickets(Change):
    """A leak: a customer who cancels gets a ticket that asks how to cancel, dated before the month began.

    The ticket is written after the cancellation. With `dated: as_written` its `created_time` is after the cancellation, so
    point-in-time features do not see it. With `dated: back` its `created_time` is backdated too, and the ticket leaks the
    label. The hazard does not depend on it.
    """

    kind: Literal["backdated_tickets"] = "backdated_tickets"
    share: Rate = Field(default=1.0, description="of those who cancel")
    dated: Literal["back", "as_written"] = "back"


def _require_one_of(table: str, column: str, allowed: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a table that does not exist or a column that this kind of change cannot touch."""
    if table not in allowed:
        raise ValueError(f"table: unknown table {table!r}; expected one of {', '.join(allowed)}")
    if column not in allowed[table]:
        raise ValueError(
            f"column: {column!r} of {table} does not allow this change; expected one of "
            f"{', '.join(allowed[table]) or 'none'}"
        )


AnyChange = Annotated[
    CovariateShift | ConceptShift | ColumnMissing | UnitChange | BackdatedTickets, Field(discriminator="kind")
]
