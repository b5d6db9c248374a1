"""The texts of tickets: sentences by the ticket's reason and mood. No other column contains the mood."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from worlds.subscription.arrays import Codes
from worlds.subscription.tables import strings

REASONS = ("how_to", "billing", "outage", "cancellation", "feature_request")
MOODS = ("calm", "annoyed", "angry")

OPENINGS = ("Hello,", "Hi team,", "Good morning,", "To the support desk:")
SENTENCES = {
    "how_to": (
        "how can I share my list with a second screen?",
        "I do not find where to switch the language.",
        "please tell me how downloads work on a new phone.",
    ),
    "billing": (
        "the amount on my last invoice is not what I expected.",
        "my card was charged although I had changed it.",
        "please explain the new price on my bill.",
    ),
    "outage": (
        "the service stopped in the middle of the evening.",
        "since yesterday nothing loads and I only see an error.",
        "it keeps disconnecting every few minutes.",
    ),
    "cancellation": (
        "what is the notice period if I want to stop?",
        "I am thinking about leaving, which date would count?",
        "please tell me how to end my subscription.",
    ),
    "feature_request": (
        "it would be nice to sort the list by length.",
        "could you add a dark theme?",
        "I would like to see statistics of my own use.",
    ),
}
MOOD_SENTENCES = {
    "calm": ("No hurry.", "Thank you for your help.", "It is otherwise working well."),
    "annoyed": ("This is the second time I ask.", "I expected better.", "Please answer soon this time."),
    "angry": (
        "This is unacceptable.",
        "I find this unacceptable for what I pay.",
        "An unacceptable service, and I am tired of it.",
    ),
}
VARIANTS = 3


def draw_texts(
    rng: np.random.Generator, reasons: Codes, moods: Codes, plans: Codes, names: tuple[str, ...]
) -> pa.Array:
    """Draw and return one text for each ticket.

    Parameters
    ----------
    rng : draws the wordings.
    reasons, moods : indices into `REASONS` and `MOODS`.
    plans, names : the customer's plan as an index into the plans' names.

    """
    size = len(reasons)
    about = tuple(sentence for reason in REASONS for sentence in SENTENCES[reason])
    felt = tuple(sentence for mood in MOODS for sentence in MOOD_SENTENCES[mood])
    return pc.binary_join_element_wise(
        strings(OPENINGS, rng.integers(0, len(OPENINGS), size)),
        strings(about, reasons * VARIANTS + rng.integers(0, VARIANTS, size)),
        strings(tuple(f"I have the {name} plan." for name in names), plans),
        strings(felt, moods * VARIANTS + rng.integers(0, VARIANTS, size)),
        " ",
    )
