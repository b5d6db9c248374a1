"""The true cancellation hazard: a logistic function of terms that can be computed from the tables."""

from dataclasses import dataclass, fields

import numpy as np

from worlds.subscription.arrays import Floats
from worlds.subscription.changes import ConceptShift
from worlds.subscription.coefficients import HazardCoefficients
from worlds.subscription.months import Month
from worlds.subscription.people import People
from worlds.subscription.settings import SubscriptionSettings

FORMULA = (
    "hazard = 1 / (1 + exp(-logit)); logit = intercept + sum over terms of coefficient * term "
    "+ segment + region + channel + protected (for the protected gender) "
    "+ hazard_amplitude * cos(2 pi (month of year - hazard_peak_month) / 12); "
    "hazard_with_offer adds the offer's effect for the segment to the logit"
)


@dataclass(frozen=True)
class Terms:
    """The terms of the formula at a month's first instant, one array each; `HazardCoefficients` defines them."""

    log_tenure: Floats
    annual_locked: Floats
    annual_ending: Floats
    price_rise_90d: Floats
    downgrades_90d: Floats
    active_share_30d: Floats
    usage_trend: Floats
    features_mean_30d: Floats
    days_since_use: Floats
    failed_payments_90d: Floats
    late_payments_90d: Floats
    open_tickets: Floats
    billing_tickets_90d: Floats
    outage_tickets_90d: Floats
    cancellation_tickets_90d: Floats
    angry_tickets_90d: Floats


@dataclass(frozen=True)
class Hazards:
    """Each customer's probability to cancel within the month, without and with the offer."""

    hazard: Floats
    hazard_with_offer: Floats


def hazards(terms: Terms, people: People, settings: SubscriptionSettings, month: Month) -> Hazards:
    """Return the hazards of one month by the formula, with the concept shifts that are active in it."""
    coefficients = coefficients_in(settings, month.number)
    logit = settings.intercept + attribute_logit(people, settings)
    logit += wave(settings.seasonality.hazard_amplitude, settings.seasonality.hazard_peak_month, month.of_year)
    for term in fields(Terms):
        logit += getattr(coefficients, term.name) * getattr(terms, term.name)
    effects = np.array([settings.offer.effects[segment.name] for segment in settings.segments])
    return Hazards(hazard=sigmoid(logit), hazard_with_offer=sigmoid(logit + effects[people.segment]))


def coefficients_in(settings: SubscriptionSettings, month: int) -> HazardCoefficients:
    """Return the coefficients of `month`; of two active shifts of one term the later one in the settings applies."""
    shifts = [c for c in settings.changes if isinstance(c, ConceptShift) and c.active(month)]
    return settings.hazard.model_copy(update={shift.term: shift.coefficient for shift in shifts})


def attribute_logit(people: People, settings: SubscriptionSettings) -> Floats:
    """Return the sum of the logits of segment, region, channel, gender and protected gender, per customer."""
    protected = np.array([settings.protected.logit * (g.name == settings.protected.gender) for g in settings.genders])
    total: Floats = protected[people.gender]
    for categories, codes in (
        (settings.segments, people.segment),
        (settings.regions, people.region),
        (settings.channels, people.channel),
        (settings.genders, people.gender),
    ):
        total = total + np.array([category.logit for category in categories])[codes]
    return total


def wave(amplitude: float, peak_month: int, month_of_year: int) -> float:
    """Return the yearly wave's value in a calendar month, 1 = January."""
    return float(amplitude * np.cos(2 * np.pi * (month_of_year - peak_month) / 12))


def sigmoid(logit: Floats) -> Floats:
    """Return 1 / (1 + exp(-logit))."""
    # Below -700 the exponential overflows float64.
    return 1 / (1 + np.exp(-np.maximum(logit, -700)))
