"""The constant attributes of customers, and their names."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from worlds.subscription.arrays import Codes, Days, Flags, Floats
from worlds.subscription.months import MonthGrid
from worlds.subscription.settings import Category, Plan, SubscriptionSettings
from worlds.subscription.streams import Streams, Topic
from worlds.subscription.tables import records, strings

GIVEN_NAMES = (
    "Ada", "Bruno", "Carla", "Dario", "Edith", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Kira", "Leo", "Mira",
    "Nils", "Olga", "Pavel", "Quentin", "Rosa", "Samir", "Tilda", "Umar", "Vera", "Wanda", "Xenia", "Yusuf", "Zoe",
)  # fmt: skip
FAMILY_NAMES = (
    "Abbot", "Brandt", "Castell", "Dorn", "Eklund", "Farkas", "Gruber", "Haddad", "Ivanov", "Jensen", "Kowal",
    "Lindner", "Moreau", "Novak", "Okafor", "Petrov", "Quist", "Rossi", "Santos", "Tanaka", "Ueda", "Varga",
    "Weber", "Xavier", "Yilmaz", "Zeman",
)  # fmt: skip
DEVICES = ("android", "ios", "web", "tv")
DEVICE_SHARES = (0.35, 0.3, 0.25, 0.1)

#: Existing customers signed up at most this many days before the start, so that none of their annual contracts has ended.
EXISTING_SIGNUP_DAYS = 360
#: Events happen between 06:00 and 23:00 UTC, so that a record that is not late becomes known on the day of its event.
DAY_STARTS, DAY_ENDS = 6 * 3600, 23 * 3600


@dataclass(frozen=True)
class People:
    """One chunk of customers, one value for each; codes are indices into the settings' tuples.

    Attributes
    ----------
    customer_id : 1 to the number of customers, independent of the attributes.
    signup_day, signup_second : when the customer signed up; day 0 is the first of the lead-in.
    annual : whether the first contract is annual.
    engagement : logit of the usual daily probability of use.
    log_minutes : mean of the logarithm of the minutes on a day of use.
    breadth : mean number of features used on a day of use, minus 1.
    device : the usual device, a code into `DEVICES`.
    billing_day : day of the month on which invoices are written, 1 to 12.
    payment_risk, late_risk, ticket_risk : factors with mean 1 that multiply the mean rates of the settings.

    """

    customer_id: Codes
    segment: Codes
    gender: Codes
    region: Codes
    channel: Codes
    birth_year: Codes
    signup_day: Days
    signup_second: Codes
    plan: Codes
    annual: Flags
    engagement: Floats
    log_minutes: Floats
    breadth: Floats
    device: Codes
    billing_day: Codes
    payment_risk: Floats
    late_risk: Floats
    ticket_risk: Floats

    def __len__(self) -> int:
        """Return the number of customers."""
        return len(self.customer_id)


def draw_people(settings: SubscriptionSettings, streams: Streams, grid: MonthGrid) -> People:
    """Draw and return the customers of one chunk."""
    rng = streams.of(Topic.PEOPLE)
    first = streams.chunk * settings.chunk_customers
    # The last chunk is drawn completely and then cut, so that a customer does not depend on the number of customers.
    size = settings.chunk_customers
    segment = _codes(rng, settings.segments, size)
    people = People(
        customer_id=np.arange(first + 1, first + size + 1),
        segment=segment,
        gender=_codes(rng, settings.genders, size),
        region=_codes(rng, settings.regions, size),
        channel=_codes(rng, settings.channels, size),
        birth_year=rng.integers(1945, 2005, size),
        signup_day=_signup_days(rng, settings.existing_share, grid, size),
        signup_second=rng.integers(DAY_STARTS, DAY_ENDS, size),
        plan=_codes(rng, settings.plans, size),
        annual=rng.random(size) < settings.behaviour.annual_share,
        engagement=rng.normal(-0.5, 0.8, size) + np.array([s.engagement for s in settings.segments])[segment],
        log_minutes=rng.normal(3.3, 0.4, size),
        breadth=rng.uniform(0.5, 5.0, size),
        device=rng.choice(len(DEVICES), size, p=DEVICE_SHARES),
        billing_day=rng.integers(1, 13, size),
        payment_risk=rng.gamma(0.5, 2.0, size),
        late_risk=rng.gamma(0.5, 2.0, size),
        ticket_risk=rng.gamma(0.7, 1 / 0.7, size),
    )
    return _first_of(people, min(size, settings.customers - first))


def _first_of(people: People, count: int) -> People:
    """Return the first `count` customers."""
    return People(**{name: values[:count] for name, values in vars(people).items()})


def _codes(rng: np.random.Generator, categories: tuple[Category, ...] | tuple[Plan, ...], size: int) -> Codes:
    shares = np.array([category.share for category in categories])
    return rng.choice(len(categories), size, p=shares / shares.sum())


def _signup_days(rng: np.random.Generator, existing_share: float, grid: MonthGrid, size: int) -> Days:
    """Draw signup days: of existing customers in the year before the start, of the others in the history."""
    start = grid.start_day(0)
    existing = rng.random(size) < existing_share
    before = rng.integers(start - EXISTING_SIGNUP_DAYS, start, size)
    return np.where(existing, before, rng.integers(start, grid.days, size))


def customer_records(people: People, settings: SubscriptionSettings, streams: Streams, grid: MonthGrid) -> pa.Table:
    """Return the records of `customers`, the only table with names, mail addresses and telephone numbers."""
    rng = streams.of(Topic.PEOPLE, part=1)
    given = strings(GIVEN_NAMES, rng.integers(0, len(GIVEN_NAMES), len(people)))
    family = strings(FAMILY_NAMES, rng.integers(0, len(FAMILY_NAMES), len(people)))
    number = pa.array(people.customer_id).cast(pa.string())
    mailbox = pc.utf8_lower(pc.binary_join_element_wise(given, family, number, "."))
    # No country has the code 999 and no domain under .example can be registered, so no number or address is real.
    line = pa.array(rng.integers(10**8, 10**9, len(people))).cast(pa.string())
    return records(
        "customers",
        customer_id=people.customer_id,
        event_time=grid.moments(people.signup_day, people.signup_second),
        name=pc.binary_join_element_wise(given, family, " "),
        email=pc.binary_join_element_wise(mailbox, "mail.example", "@"),
        phone=pc.binary_join_element_wise("+999", line, " "),
        gender=strings(tuple(c.name for c in settings.genders), people.gender),
        birth_year=people.birth_year,
        region=strings(tuple(c.name for c in settings.regions), people.region),
        acquisition_channel=strings(tuple(c.name for c in settings.channels), people.channel),
        segment=strings(tuple(c.name for c in settings.segments), people.segment),
    )
