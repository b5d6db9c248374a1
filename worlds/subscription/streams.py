"""Independent random streams; each depends only on the seed, the chunk, the topic and the month.

A stream does not depend on the number of chunks or on the order of draws. So the bytes do not depend on the number of workers,
and more draws in one topic do not shift another.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from worlds.subscription.months import LEAD_IN_MONTHS


class Topic(IntEnum):
    """The topics of draws. Their numbers are part of the world: another number changes the bytes."""

    PEOPLE = 0
    HAZARD = 1
    PLANS = 2
    BILLING = 3
    USAGE = 4
    SUPPORT = 5
    INTEREST = 6
    FEED = 7
    BACKDATED = 8


@dataclass(frozen=True)
class Streams:
    """The streams of one chunk."""

    seed: int
    chunk: int

    def of(self, topic: Topic, month: int = -LEAD_IN_MONTHS, part: int = 0) -> np.random.Generator:
        """Return a new generator for a topic in a month (-3 is the first of the lead-in); `part` subdivides a topic."""
        key = (self.chunk, int(topic), month + LEAD_IN_MONTHS, part)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
