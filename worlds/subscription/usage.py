"""Daily use of the service, the largest table."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from worlds.subscription.arrays import Codes, Days, Floats
from worlds.subscription.hazard import sigmoid
from worlds.subscription.months import Month
from worlds.subscription.people import DAY_ENDS, DAY_STARTS, DEVICES, People
from worlds.subscription.presence import Presence
from worlds.subscription.settings import Behaviour
from worlds.subscription.tables import records, strings

#: Minutes of one day at most; a day has 1440.
MOST_MINUTES = 720
#: Customers use their usual device on this share of the days.
USUAL_DEVICE_SHARE = 0.8
#: Monthly change of the interest's logit while sliding; otherwise the share of the return to the usual level; and the noise.
SLIDE, RETURN, WAVER = -0.8, 0.4, 0.3
LOWEST_INTEREST = -6.0
MINUTES_SPREAD = 0.5
MINUTES_PER_LOGIN = 25


@dataclass(frozen=True)
class UsageTerms:
    """The hazard's terms about usage; `HazardCoefficients` defines them."""

    active_share_30d: Floats
    usage_trend: Floats
    features_mean_30d: Floats
    days_since_use: Floats


class Interest:
    """The logit of each customer's daily probability of use: noise around the usual level, with periods of decline."""

    def __init__(self, people: People, behaviour: Behaviour) -> None:
        self._usual = people.engagement
        self._behaviour = behaviour
        self.sliding = np.zeros(len(people), np.bool_)
        self.level = people.engagement.copy()

    def pass_month(self, rng: np.random.Generator) -> None:
        """Update the interest of all customers by a month."""
        draws = rng.random(len(self.level))
        starts = ~self.sliding & (draws < self._behaviour.slide_start_rate)
        stays = self.sliding & (draws >= self._behaviour.slide_end_rate)
        self.sliding = starts | stays
        recovered = self.level + RETURN * (self._usual - self.level)
        moved = np.where(self.sliding, self.level + SLIDE, recovered)
        self.level = np.maximum(moved + rng.normal(0, WAVER, len(moved)), LOWEST_INTEREST)


class Usage:
    """Draws the usage of a chunk, and stores it by customer and day for the hazard's terms."""

    def __init__(self, people: People, days: int) -> None:
        self._people = people
        self._minutes = np.zeros((len(people), days), np.int16)
        self._features = np.zeros((len(people), days), np.int8)
        self._last_day: Days = people.signup_day.copy()

    def use(
        self, probabilities: Floats, minutes_factors: Floats, presence: Presence, rng: np.random.Generator, month: Month
    ) -> pa.Table:
        """Draw a month's usage; return it as records of `usage_daily`.

        Parameters
        ----------
        chances : each customer's probability of use on a day.
        minutes_factors : each customer's factor on the minutes of a day of use.
        presence : the days on which customers are present.
        rng, month : the random generator and the month.

        """
        candidates = presence.during(month.start, month.stop)
        used = rng.random((len(candidates), month.stop - month.start), np.float32) < probabilities[candidates, None]
        which, offsets = np.nonzero(used)
        rows, days = candidates[which], month.start + offsets
        present = presence.on(rows, days)
        rows, days = rows[present], days[present]
        minutes = self._draw_minutes(rng, rows, minutes_factors)
        features = 1 + np.rint(rng.random(len(rows)) * 2 * self._people.breadth[rows]).astype(np.int64)
        self._remember(rows, days, minutes, features)
        return records(
            "usage_daily",
            customer_id=self._people.customer_id[rows],
            event_time=month.grid.moments(days, rng.integers(DAY_STARTS, DAY_ENDS, len(rows))),
            logins=1 + (minutes * rng.random(len(rows)) / MINUTES_PER_LOGIN).astype(np.int64),
            minutes=minutes,
            features_used=features,
            device=strings(DEVICES, self._draw_devices(rng, rows)),
        )

    def _draw_minutes(self, rng: np.random.Generator, rows: Codes, factors: Floats) -> Codes:
        typical = self._people.log_minutes[rows] + np.log(factors)[rows]
        drawn = np.exp(typical + MINUTES_SPREAD * rng.standard_normal(len(rows)))
        return np.clip(np.rint(drawn), 1, MOST_MINUTES).astype(np.int64)

    def _draw_devices(self, rng: np.random.Generator, rows: Codes) -> Codes:
        usual = rng.random(len(rows), np.float32) < USUAL_DEVICE_SHARE
        return np.where(usual, self._people.device[rows], rng.integers(0, len(DEVICES), len(rows)))

    def _remember(self, rows: Codes, days: Days, minutes: Codes, features: Codes) -> None:
        self._minutes[rows, days] = minutes
        self._features[rows, days] = features
        # Rows are ordered by customer and day, so the last assignment is the last day.
        self._last_day[rows] = days

    def terms(self, day: int) -> UsageTerms:
        """Return the terms from the usage before `day`."""
        minutes = self._minutes[:, day - 90 : day].sum(axis=1, dtype=np.int32)
        recent = self._minutes[:, day - 30 : day]
        active_days = np.count_nonzero(recent, axis=1)
        features = self._features[:, day - 30 : day].sum(axis=1, dtype=np.int32)
        return UsageTerms(
            active_share_30d=active_days / 30,
            usage_trend=np.log((1 + recent.sum(axis=1, dtype=np.int32)) / (1 + minutes / 3)),
            features_mean_30d=features / np.maximum(active_days, 1),
            days_since_use=np.minimum(day - self._last_day, 30).astype(np.float64),
        )


def daily_probabilities(interest: Interest, season: float) -> Floats:
    """Return each customer's probability of use on a day; `season` is added to the logit."""
    return sigmoid(interest.level + season)
