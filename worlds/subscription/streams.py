"""Independent random streams, each fixed by the seed, the chunk, the topic and the month alone.

A stream never depends on how many chunks there are or who draws first, so the bytes do not depend on the number of
workers, and drawing more in one topic does not shift another.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from worlds.subscription.months import LEAD_IN_MONTHS


class Topic(IntEnum):
    """What is drawn. The numbers are part of the world: changing one changes the bytes."""

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
        """Start the stream of a topic in a month (-3 is the first of the lead-in); `part` splits a topic further."""
        key = (self.chunk, int(topic), month + LEAD_IN_MONTHS, part)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
