"""The settings of the world, typed and frozen: equal settings generate equal bytes."""

import math
from collections.abc import Mapping
from datetime import date
from typing import Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator

from core.errors import PantheraError
from worlds.subscription.changes import AnyChange, ColumnMissing, ConceptShift, CovariateShift, UnitChange
from worlds.subscription.coefficients import HazardCoefficients
from worlds.subscription.months import month_grid
from worlds.subscription.section import Rate, Section, require_known

#: The longest horizon that lies inside every calendar month.
SHORTEST_MONTH_DAYS = 28


class Category(Section):
    """One value of a customer's attribute: its share among signups and its addition to the hazard's logit."""

    name: str
    share: Rate
    logit: float = 0.0


class Segment(Category):
    """One customer segment; `price_factor` multiplies the list price, `engagement` shifts the logit of daily use."""

    price_factor: float = Field(default=1.0, gt=0)
    engagement: float = 0.0


class Plan(Section):
    """One plan: its share among signups and its list price in EUR a month. Plans are listed from small to large."""

    name: str
    share: Rate
    price: float = Field(gt=0)


class Behaviour(Section):
    """The rates of customers' events; probabilities are per month unless stated otherwise."""

    annual_share: Rate = Field(default=0.3, description="share of signups that take an annual contract")
    annual_switch_rate: Rate = Field(default=0.01, description="a monthly contract becomes annual")
    renewal_rate: Rate = Field(default=0.7, description="an ending annual contract is renewed, else becomes monthly")
    price_change_rate: Rate = Field(default=0.06, description="the price of a monthly contract is raised")
    price_rise_max: Rate = Field(default=0.25, description="the largest rise, relative to the price before")
    upgrade_rate: Rate = Field(default=0.015, description="the customer moves to the next larger plan")
    downgrade_rate: Rate = Field(default=0.02, description="a monthly contract moves to the next smaller plan")
    slide_start_rate: Rate = Field(default=0.05, description="the customer starts to lose interest")
    slide_end_rate: Rate = Field(default=0.25, description="a customer who loses interest stops doing so")
    payment_failure_rate: Rate = Field(default=0.05, description="mean over customers: a charge fails")
    retry_success_rate: Rate = Field(default=0.7, description="the second charge, after a failed one, succeeds")
    late_payment_rate: Rate = Field(default=0.08, description="mean over customers: an invoice is paid late")
    refund_rate: Rate = Field(default=0.01, description="a paid invoice is refunded")
    ticket_rate: Rate = Field(
        default=0.05, description="mean over customers: a ticket is opened, twice a month at most"
    )


class Faults(Section):
    """Rates of faulty records, per record of every table.

    A record has at most one missing or impossible value, so the sum of the two rates is at most 1.
    """

    late_rate: Rate = Field(default=0.02, description="becomes known 1 to `late_days_max` days late; not for customers")
    late_days_max: int = Field(default=7, ge=2, le=SHORTEST_MONTH_DAYS)
    duplicate_rate: Rate = Field(default=0.005, description="is delivered twice, both copies equal")
    missing_rate: Rate = Field(default=0.01, description="lacks one of the values that may be missing")
    impossible_rate: Rate = Field(default=0.001, description="has a value that cannot be, such as negative minutes")

    @model_validator(mode="after")
    def _leave_room(self) -> Self:
        if not self.missing_rate + self.impossible_rate <= 1:
            raise ValueError(
                f"impossible_rate: {self.impossible_rate:g} and missing_rate {self.missing_rate:g} exceed 1 together"
            )
        return self


class Seasonality(Section):
    """Yearly waves, amplitude * cos(2 pi (month - peak) / 12) with month 1 = January, on two logits."""

    hazard_amplitude: float = 0.25
    hazard_peak_month: int = Field(default=1, ge=1, le=12)
    usage_amplitude: float = 0.15
    usage_peak_month: int = Field(default=12, ge=1, le=12)


class ProtectedGroup(Section):
    """The customers of one gender, whose hazard has a logit that is higher by `logit`, all else equal."""

    gender: str = "female"
    logit: float = 0.3


class Offer(Section):
    """The retention offer: its effect on the logit of the month in which it is received, by segment name."""

    effects: Mapping[str, float] = {"consumer": -0.7, "family": -0.4, "student": -0.1, "business": 0.2}


SEGMENTS = (
    Segment(name="consumer", share=0.45, logit=0.2),
    Segment(name="family", share=0.25, logit=-0.2, engagement=0.3, price_factor=1.4),
    Segment(name="student", share=0.18, logit=0.4, engagement=0.1, price_factor=0.6),
    Segment(name="business", share=0.12, logit=-0.5, engagement=0.4, price_factor=2.2),
)
REGIONS = (
    Category(name="north", share=0.3),
    Category(name="south", share=0.25, logit=0.25),
    Category(name="east", share=0.25, logit=-0.15),
    Category(name="west", share=0.2, logit=0.1),
)
CHANNELS = (
    Category(name="organic", share=0.35),
    Category(name="referral", share=0.2, logit=-0.4),
    Category(name="paid_social", share=0.3, logit=0.5),
    Category(name="partner", share=0.15, logit=0.15),
)
GENDERS = (
    Category(name="female", share=0.48),
    Category(name="male", share=0.48),
    Category(name="other", share=0.04),
)
PLANS = (
    Plan(name="basic", share=0.45, price=9.99),
    Plan(name="standard", share=0.35, price=15.99),
    Plan(name="premium", share=0.2, price=24.99),
)
#: One after another and late, so that a model can be trained and tested on earlier months.
CHANGES: tuple[AnyChange, ...] = (
    CovariateShift(start_month=18, segments=("consumer", "family"), minutes_factor=0.6),
    ColumnMissing(start_month=20, end_month=21, table="usage_daily", column="features_used"),
    UnitChange(start_month=21, end_month=22, table="usage_daily", column="minutes", factor=60),
    ConceptShift(start_month=22, term="active_share_30d", coefficient=-0.5),
)


class SubscriptionSettings(Section):
    """All settings of the world. An invalid value raises `PantheraError` with one line that names the field."""

    seed: int = Field(default=7, ge=0)
    customers: int = Field(default=10_000, ge=1, description="all who ever sign up")
    chunk_customers: int = Field(default=10_000, ge=1, le=100_000, description="customers that share a random stream")
    start_date: date = Field(default=date(2023, 1, 1), description="the first of a month; months start at 00:00 UTC")
    months: int = Field(default=24, ge=1, le=240, description="length of the history, from start_date")
    horizon_days: int = Field(
        default=SHORTEST_MONTH_DAYS, ge=1, description="a month's cancellation falls within so many days of its start"
    )
    existing_share: Rate = Field(default=0.45, description="share of the customers that signed up before start_date")
    segments: tuple[Segment, ...] = SEGMENTS
    regions: tuple[Category, ...] = REGIONS
    channels: tuple[Category, ...] = CHANNELS
    genders: tuple[Category, ...] = GENDERS
    plans: tuple[Plan, ...] = PLANS
    behaviour: Behaviour = Behaviour()
    faults: Faults = Faults()
    intercept: float = -2.0
    hazard: HazardCoefficients = HazardCoefficients()
    seasonality: Seasonality = Seasonality()
    protected: ProtectedGroup = ProtectedGroup()
    offer: Offer = Offer()
    changes: tuple[AnyChange, ...] = CHANGES

    @model_validator(mode="after")
    def _check_time(self) -> Self:
        if self.start_date.day != 1:
            raise ValueError(f"start_date: {self.start_date} is not the first of a month")
        history = month_grid(self.start_date, self.months).history_days
        if self.horizon_days > history:
            raise ValueError(
                f"horizon_days: {self.horizon_days} days is longer than the history of {history} days "
                f"({self.months} months from {self.start_date})"
            )
        if self.horizon_days > SHORTEST_MONTH_DAYS:
            raise ValueError(
                f"horizon_days: {self.horizon_days} days is longer than the shortest month ({SHORTEST_MONTH_DAYS} days)"
            )
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        for field in ("segments", "regions", "channels", "genders", "plans"):
            categories: tuple[Category | Plan, ...] = getattr(self, field)
            total = math.fsum(category.share for category in categories)
            if not math.isclose(total, 1.0, abs_tol=1e-9):
                raise ValueError(f"{field}: the shares add up to {total:g}, not 1")
            if len({category.name for category in categories}) != len(categories):
                raise ValueError(f"{field}: a name occurs twice")
        return self

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        segments = tuple(segment.name for segment in self.segments)
        require_known("offer.effects", tuple(self.offer.effects), segments, "segment")
        if missing := [name for name in segments if name not in self.offer.effects]:
            raise ValueError(f"offer.effects: no effect for segment {missing[0]!r}; write 0 if the offer does nothing")
        for number, change in enumerate(self.changes):
            if isinstance(change, CovariateShift):
                require_known(f"changes.{number}.segments", change.segments, segments, "segment")
        require_known("protected.gender", (self.protected.gender,), tuple(g.name for g in self.genders), "gender")
        return self

    @model_validator(mode="after")
    def _check_changes(self) -> Self:
        for number, change in enumerate(self.changes):
            if change.start_month >= self.months:
                raise ValueError(
                    f"changes.{number}.start_month: month {change.start_month} lies outside the history "
                    f"of {self.months} months (0 to {self.months - 1})"
                )
            if change.end_month is not None and not change.start_month < change.end_month <= self.months:
                raise ValueError(
                    f"changes.{number}.end_month: {change.end_month} is not after month {change.start_month} "
                    f"and within {self.months} months"
                )
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_one_line(cls, values: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # Defined last, so that it also handles the errors of the validators above.
        try:
            return handler(values)
        except ValidationError as refusal:
            refused = [_one_line(error["loc"], error["msg"], error["input"]) for error in refusal.errors()]
            raise PantheraError("; ".join(refused)) from None

    @property
    def chunks(self) -> int:
        """Number of chunks; the last one may be shorter."""
        return math.ceil(self.customers / self.chunk_customers)


def _one_line(location: tuple[int | str, ...], message: str, found: object) -> str:
    """Compose the message about a refused field; a check across fields names its field itself."""
    where = ".".join(map(str, location))
    if message.startswith("Value error, "):
        message = message.removeprefix("Value error, ")
        return f"{where}.{message}" if where else message
    return f"{where}: {message[0].lower()}{message[1:]}, found {_shown(found)}"


def _shown(found: object) -> str:
    """Compose a refused value as one shortened line."""
    text = repr(found).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004  # fits a terminal's line
