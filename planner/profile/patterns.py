"""The patterns that recognise values: missing values, truth words, times, identifiers and personal data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from core.plan.times import UNIX_FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Texts that mean a missing value in every column.
MISSING_WORDS = ("NA", "N/A", "n/a", "#N/A", "NULL", "null", "NaN", "nan", "\\N", "?")
#: Texts that mean a missing value in a column of numbers, times or truth values.
MISSING_MARKS = (*MISSING_WORDS, "None", "none", "unknown", "Unknown", "missing", "-", "--", ".", "#", "*", "k.A.")
#: Words for true and false that come in pairs, in small letters.
TRUTH_WORDS = (
    ("yes", "no"), ("true", "false"), ("y", "n"), ("t", "f"), ("on", "off"), ("ja", "nein"), ("j", "n"), ("oui", "non"),
    ("si", "no"), ("sim", "não"), ("da", "net"), ("tak", "nie"), ("kyllä", "ei"), ("wahr", "falsch"),
)  # fmt: skip


@dataclass(frozen=True)
class TimeForm:
    """A format of times: the strptime format, whether it has a time of day, and the pattern of its texts.

    A format of ISO 8601 is not written into the plan.
    """

    format: str
    has_clock: bool
    pattern: re.Pattern[str]
    is_iso: bool = False


_DATES = {
    "%d/%m/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
    "%m/%d/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
    "%d.%m.%Y": r"\d{1,2}\.\d{1,2}\.\d{4}",
    "%d-%m-%Y": r"\d{1,2}-\d{1,2}-\d{4}",
    "%m-%d-%Y": r"\d{1,2}-\d{1,2}-\d{4}",
    "%Y.%m.%d": r"\d{4}\.\d{1,2}\.\d{1,2}",
    "%Y%m%d": r"(19|20)\d{6}",
    "%d %b %Y": r"\d{1,2} [A-Za-z]{3} \d{4}",
    "%d-%b-%Y": r"\d{1,2}-[A-Za-z]{3}-\d{4}",
    "%d %B %Y": r"\d{1,2} [A-Za-z]{3,9} \d{4}",
    "%b %d, %Y": r"[A-Za-z]{3} \d{1,2}, \d{4}",
    "%B %d, %Y": r"[A-Za-z]{3,9} \d{1,2}, \d{4}",
    "%b %d %Y": r"[A-Za-z]{3} \d{1,2} \d{4}",
    "%d/%m/%y": r"\d{1,2}/\d{1,2}/\d{2}",
    "%m/%d/%y": r"\d{1,2}/\d{1,2}/\d{2}",
    "%d.%m.%y": r"\d{1,2}\.\d{1,2}\.\d{2}",
    "%b-%Y": r"[A-Za-z]{3}-\d{4}",
    "%b %Y": r"[A-Za-z]{3} \d{4}",
    "%m/%Y": r"\d{1,2}/\d{4}",
    "%d-%b-%y": r"\d{1,2}-[A-Za-z]{3}-\d{2}",
}
_CLOCKS = {
    "": "",
    " %H:%M": r" \d{1,2}:\d\d",
    " %H:%M:%S": r" \d{1,2}:\d\d:\d\d",
    " %H.%M": r" \d{1,2}\.\d\d",
    " %I:%M %p": r" \d{1,2}:\d\d [AaPp][Mm]",
    " %I:%M:%S %p": r" \d{1,2}:\d\d:\d\d [AaPp][Mm]",
}
_ISO_DAY = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}"
#: All forms, those of ISO 8601 first.
TIME_FORMS = (
    TimeForm("%Y-%m-%d", has_clock=False, pattern=re.compile(_ISO_DAY), is_iso=True),
    TimeForm(
        "%Y-%m-%d %H:%M:%S",
        has_clock=True,
        pattern=re.compile(rf"{_ISO_DAY}[Tt ]\d{{1,2}}:\d\d(:\d\d(\.\d+)?)?( ?(Z|UTC|[+-]\d\d:?\d\d))?"),
        is_iso=True,
    ),
    *(
        TimeForm(date + clock, has_clock=bool(clock), pattern=re.compile(pattern + ending))
        for date, pattern in _DATES.items()
        for clock, ending in _CLOCKS.items()
    ),
)

#: Names of columns whose whole numbers may be times since 1970.
_UNIX_NAME = re.compile(
    r"(^|_)(time|date|datetime|ts|at|on|utc|unix|seconds|millis|ms|when)(_|$)|timestamp|unixtime|epoch"
)
#: Seconds since 1970 of the years 1985 to 2040, in which a number is taken for a time.
_UNIX_SECONDS = (473_385_600, 2_208_988_800)


def unix_form(name: str, smallest: float, largest: float) -> str | None:
    """Return the format of a column of times since 1970, by its name and its range; None if it is another number.

    >>> unix_form("timestamp", 964982703, 1537799250), unix_form("phone", 964982703, 1537799250)
    ('unix', None)
    """
    first, last = _UNIX_SECONDS
    if not _UNIX_NAME.search(name):
        return None
    return next(
        (form for form, unit in UNIX_FORMATS.items() if first * unit <= smallest and largest <= last * unit), None
    )


Treatment = Literal["remove", "hash", "keep"]


@dataclass(frozen=True)
class Personal:
    """A kind of personal data: the names of columns with it, a test of values, and the treatment in a drafted plan.

    A kind without `fits` is recognised by the name alone, a kind with `needs_name` only by name and values together.
    """

    kind: str
    treatment: Treatment
    named: re.Pattern[str]
    fits: Callable[[str], bool] | None = None
    needs_name: bool = False


#: Digits of card numbers and of telephone numbers, and groups of digits of the latter.
_CARD_DIGITS, _PHONE_DIGITS, _PHONE_GROUPS = range(13, 20), range(7, 16), range(3, 6)


def _matches(pattern: re.Pattern[str], value: str) -> bool:
    return pattern.fullmatch(value.strip()) is not None


def is_luhn(value: str) -> bool:
    """Return whether a text is a card number: 13 to 19 digits, grouped or not, with a valid check digit."""
    digits = re.sub(r"[ -]", "", value.strip())
    if not (digits.isascii() and digits.isdigit() and len(digits) in _CARD_DIGITS and len(set(digits)) > 1):
        return False
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def is_iban(value: str) -> bool:
    """Return whether a text is an IBAN, by its remainder modulo 97."""
    text = value.replace(" ", "").upper()
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", text):
        return False
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def is_address(value: str) -> bool:
    """Return whether a text is an IP address."""
    if "." not in value and ":" not in value:
        return False
    try:
        ip_address(value.strip())
    except ValueError:
        return False
    return True


#: First and last name, or last name, title and first names.
_FULL_NAME = re.compile(r"[A-Z][\w'.-]+,?( [A-Z(\"][\w'.()\"/-]*)+")
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[A-Za-z]{2,}")
_PHONE = re.compile(r"(\+\d{1,3}[ ./-]?)?(\(\d{1,5}\)[ ./-]?)?\d{2,8}([ ./-]\d{2,8}){1,4}|\+\d{7,15}")


def is_phone(value: str) -> bool:
    """Return whether a text looks like a telephone number and not like a date: with a plus, brackets or three groups."""
    text = value.strip()
    if _PHONE.fullmatch(text) is None or sum(letter.isdigit() for letter in text) not in _PHONE_DIGITS:
        return False
    is_marked = text.startswith("+") or "(" in text or len(re.findall(r"\d+", text)) in _PHONE_GROUPS
    return is_marked and not any(form.pattern.fullmatch(text) for form in TIME_FORMS) and not is_address(text)


def _named(words: str) -> re.Pattern[str]:
    return re.compile(rf"(^|_)({words})($|_)")


#: The kinds of personal data, the surest first. Names are those of plans: small letters and underscores.
PERSONAL = (
    Personal("e-mail address", "remove", _named("e_?mail|mail_address"), partial(_matches, _EMAIL)),
    Personal("IBAN", "remove", _named("iban"), is_iban),
    Personal("card number", "remove", _named("card_(number|no)|credit_card|pan"), is_luhn),
    Personal("IP address", "remove", _named("ip|ip_address"), is_address),
    Personal("telephone number", "remove", _named("phone|telephone|mobile|fax|phone_number"), is_phone),
    Personal("name of a person", "remove", _named("first_?name|last_?name|surname|full_?name|given_name|family_name")),
    Personal(
        "name of a person",
        "remove",
        _named("name|customer|passenger|patient|employee|contact"),
        partial(_matches, _FULL_NAME),
        needs_name=True,
    ),
    Personal("postal address", "remove", _named("street|address|addr|street_address")),
    Personal("number of an authority", "remove", _named("ssn|social_security|passport|tax_id|national_id")),
    Personal("birth date", "keep", _named("birth_?(date|day|year)|(date|year)_of_birth|dob")),
    Personal("protected attribute", "keep", _named("gender|sex|race|ethnicity|religion|nationality")),
)

#: Words at the end of the name of a key.
KEY_NAME = _named("id|key|nr|(no|number)(?!_of_)|code|uuid|guid|ref|sku|identifier")
#: Names of columns whose numbers are codes of places: they have no order, and no mean.
POSTAL_NAME = _named("zip|zip_?code|plz|post_?code|postal_?code|post_?leitzahl")
#: Names of columns that say what became known after the event that is predicted.
AFTER_NAME = re.compile(
    r"(_after|_afterwards|_outcome)$|^(churn|cancel\w*|exit|termination|leaving)_(reason|date|score|category)$"
)
#: Names of the instant of a row, the best first, and of the instant at which it became known.
TIME_NAMES = tuple(
    map(
        re.compile,
        (
            r"^event_?(time|timestamp|date)(_value)?$",
            r"(_at|_time|_timestamp|_datetime|_ts)(_value)?$",
            r"date|day|time|when",
        ),
    )
)
KNOWN_NAME = re.compile(r"(created|known|loaded|inserted|received|ingested|recorded)(_|$)")
