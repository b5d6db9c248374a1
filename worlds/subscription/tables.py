"""The tables of the world: columns, types, meanings, and the values that may be missing or wrong."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worlds.subscription.arrays import Codes, Moments

#: Microseconds in UTC, in every table.
INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class TableSpec:
    """The definition of a table.

    Attributes
    ----------
    schema : columns in order; each field's metadata has its `meaning`.
    may_be_missing : columns that are null at random, and that a broken feed can lose.
    measured : number columns whose unit a broken feed can change.
    impossible_column, impossible_value : the wrong value of an impossible record, and its column.

    """

    schema: pa.Schema
    may_be_missing: tuple[str, ...]
    measured: tuple[str, ...]
    impossible_column: str
    impossible_value: float


def _column(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, metadata={"meaning": meaning})


def _schema(*columns: pa.Field) -> pa.Schema:
    """Return a schema that starts with the customer and the two times."""
    return pa.schema(
        [
            _column("customer_id", pa.int64(), "the customer, 1 to the number of customers"),
            _column("event_time", INSTANT, "when it happened"),
            _column("created_time", INSTANT, "when the record became known; never before event_time"),
            *columns,
        ]
    )


TABLES = {
    "customers": TableSpec(
        schema=_schema(
            _column("name", pa.string(), "given and family name; direct identifier"),
            _column("email", pa.string(), "mail address; direct identifier"),
            _column("phone", pa.string(), "telephone number; direct identifier"),
            _column("gender", pa.string(), "female, male, other; protected attribute"),
            _column("birth_year", pa.int16(), "year of birth"),
            _column("region", pa.string(), "sales region"),
            _column("acquisition_channel", pa.string(), "how the customer was won"),
            _column("segment", pa.string(), "customer segment"),
        ),
        may_be_missing=("birth_year", "phone"),
        measured=(),
        impossible_column="birth_year",
        impossible_value=1066,
    ),
    "plan_changes": TableSpec(
        schema=_schema(
            _column("kind", pa.string(), "signup, price_change, upgrade, downgrade, contract (to annual), renewal"),
            _column("plan", pa.string(), "plan from now on"),
            _column("contract", pa.string(), "monthly or annual from now on"),
            _column("contract_end", pa.date32(), "day on which the annual contract ends; null for monthly"),
            _column("price", pa.float64(), "EUR a month from the next invoice on"),
            _column("previous_price", pa.float64(), "EUR a month before; null for signup"),
        ),
        may_be_missing=("plan",),
        measured=("price",),
        impossible_column="price",
        impossible_value=-1.0,
    ),
    "invoices": TableSpec(
        schema=_schema(
            _column("invoice_id", pa.int64(), "the invoice"),
            _column("amount", pa.float64(), "EUR"),
            _column("due_date", pa.date32(), "day by which it is to be paid"),
        ),
        may_be_missing=("due_date",),
        measured=("amount",),
        impossible_column="amount",
        impossible_value=-1.0,
    ),
    "payments": TableSpec(
        schema=_schema(
            _column("payment_id", pa.int64(), "the attempt to pay or to refund"),
            _column("invoice_id", pa.int64(), "the invoice that is paid"),
            _column("amount", pa.float64(), "EUR; for refunded, the amount given back"),
            _column("status", pa.string(), "paid, late (paid after the due date), failed, refunded"),
            _column("method", pa.string(), "card, debit, wallet"),
        ),
        may_be_missing=("method",),
        measured=("amount",),
        impossible_column="amount",
        impossible_value=-1.0,
    ),
    "usage_daily": TableSpec(
        schema=_schema(
            _column("logins", pa.int16(), "logins on that day, at least 1"),
            _column("minutes", pa.int32(), "minutes of use on that day, 0 to 1440"),
            _column("features_used", pa.int16(), "distinct features used on that day"),
            _column("device", pa.string(), "device used most on that day: android, ios, web, tv"),
        ),
        may_be_missing=("minutes", "features_used", "device"),
        measured=("minutes",),
        impossible_column="minutes",
        impossible_value=-30,
    ),
    "tickets": TableSpec(
        schema=_schema(
            _column("ticket_id", pa.int64(), "the ticket; it has a record when it opens and one when it closes"),
            _column("state", pa.string(), "opened or closed"),
            _column("opened_at", INSTANT, "when the ticket was opened"),
            _column("channel", pa.string(), "email, chat, phone"),
            _column("reason", pa.string(), "how_to, billing, outage, cancellation, feature_request"),
            _column("priority", pa.int16(), "1 (low) to 3 (high)"),
            _column("text", pa.string(), "what the customer wrote; null on the closing record"),
        ),
        may_be_missing=("reason", "channel"),
        measured=(),
        impossible_column="priority",
        impossible_value=99,
    ),
    "cancellations": TableSpec(
        schema=_schema(
            _column("reason", pa.string(), "price, service, not_using, other"),
            _column("notice_days", pa.int16(), "days of notice, 0 to 14"),
        ),
        may_be_missing=("reason",),
        measured=(),
        impossible_column="notice_days",
        impossible_value=-1,
    ),
}

HAZARD_SCHEMA = pa.schema(
    [
        _column("customer_id", pa.int64(), "a customer at risk: signed up before the month and not gone"),
        _column("month_start", INSTANT, "first instant of the month"),
        _column("segment", pa.string(), "customer segment"),
        _column("protected", pa.bool_(), "whether the customer belongs to the protected group"),
        _column("hazard", pa.float64(), "probability to cancel in the month, without the offer"),
        _column("hazard_with_offer", pa.float64(), "the same if the offer is received for the month"),
        _column("cancelled", pa.bool_(), "whether the customer cancelled in the month"),
    ]
)


def records(table: str, **columns: NDArray[Any] | pa.Array) -> pa.Table:
    """Return columns as a table with its types and order, without `created_time`, which the feed adds.

    Raises
    ------
    KeyError
        If a column of the table is missing.

    """
    fields = [field for field in TABLES[table].schema if field.name != "created_time"]
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in fields]
    return pa.table(arrays, schema=pa.schema(fields))


def strings(names: tuple[str, ...], codes: Codes) -> pa.Array:
    """Return codes, indices into `names`, as strings."""
    return pa.array(names, pa.string()).take(pa.array(codes))


def utc_timestamps(moments: Moments) -> pa.Array:
    """Return datetime64[us] as timestamps in UTC."""
    return pa.array(moments.astype("datetime64[us]"), type=INSTANT)


def dates(moments: Moments, known: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return datetime64 as dates, null where not `known`."""
    return pa.array(moments.astype("datetime64[D]"), type=pa.date32(), mask=None if known is None else ~known)
