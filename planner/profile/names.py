"""Names in a plan for the names in a file: lower-case letters, digits and single underscores."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from core.plan.checks import KEYS_TAKEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Length of a name in the plan.
_LONGEST = 40
_SPECIAL = str.maketrans(
    {"ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "%": " percent ", "€": " eur ", "$": " usd ", "#": " number "}
)


def plan_name(name: str, fallback: str) -> str:
    """Return the plan's name for `name`; `fallback` if no character of it has an ASCII form.

    >>> plan_name("MonthlyCharges (USD)", "column_1"), plan_name("2nd Floor", "column_2"), plan_name("数", "column_3")
    ('monthly_charges_usd', 'n_2nd_floor', 'column_3')
    """
    plain = unicodedata.normalize("NFKD", name.translate(_SPECIAL)).encode("ascii", "ignore").decode()
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3_\2\4", plain)
    slug = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    if not slug or (not re.search(r"[a-z]", slug) and not re.search(r"\d", slug)):
        return fallback
    return (slug if slug[0].isalpha() else f"n_{slug}")[:_LONGEST].rstrip("_")


def plan_names(names: Sequence[str], taken: Iterable[str] = KEYS_TAKEN, word: str = "column") -> dict[str, str]:
    """Return a distinct plan name for each name; none of them is in `taken`.

    >>> plan_names(["Id", "id", "label"])
    {'Id': 'id', 'id': 'id_2', 'label': 'label_value'}
    """
    used, found = set(taken), dict[str, str]()
    for number, name in enumerate(names, 1):
        slug = plan_name(name, f"{word}_{number}")
        own = slug if slug not in taken else f"{slug[: _LONGEST - 6]}_value"
        count = 2
        while own in used:
            own = f"{slug[: _LONGEST - 5].rstrip('_')}_{count}"
            count += 1
        used.add(own)
        found[name] = own
    return found
