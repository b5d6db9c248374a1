"""What can be made to change in the world, and when: shifts, and feeds that break."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from worlds.subscription.coefficients import HazardCoefficients
from worlds.subscription.section import Rate, Section
from worlds.subscription.tables import TABLES


class Change(Section):
    """Something that changes at the first instant of month `start_month` (0 = the first) and ends with `end_month`."""

    start_month: int = Field(ge=0)
    end_month: int | None = Field(default=None, description="the first month without the change; None: it stays")

    def active(self, month: int) -> bool:
        """Whether the change holds in `month`."""
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
            raise ValueError(f"term: {self.term!r} is no term of the hazard; known are {known}")
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
    """A leak: a customer who cancels is given a ticket that asks how to cancel, dated before the month began.

    The desk writes it when the customer is gone. With `dated: as_written` its `created_time` says so, and whoever looks
    at what was known by then does not see it; with `dated: back` that is dated back as well, and the ticket tells what
    is to come. The hazard does not know of it.
    """

    kind: Literal["backdated_tickets"] = "backdated_tickets"
    share: Rate = Field(default=1.0, description="of those who cancel")
    dated: Literal["back", "as_written"] = "back"


def _require_one_of(table: str, column: str, allowed: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a table that does not exist or a column that this kind of change cannot touch."""
    if table not in allowed:
        raise ValueError(f"table: unknown table {table!r}; known are {', '.join(allowed)}")
    if column not in allowed[table]:
        raise ValueError(
            f"column: {column!r} of {table} cannot be changed so; possible are {', '.join(allowed[table]) or 'none'}"
        )


AnyChange = Annotated[
    CovariateShift | ConceptShift | ColumnMissing | UnitChange | BackdatedTickets, Field(discriminator="kind")
]
