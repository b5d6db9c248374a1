"""The description of an online table: its name, its columns in the view and in SQL; without a connection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from psycopg import sql

from feature_repo.online.packed_columns import needs_packing, stored_columns
from feature_repo.online.types import LONGEST_NAME, column_name, short_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feature_repo.online.packed_columns import StoredColumn

SCHEMA = "online"
EVENT_TIME, CREATED_TIME = "event_timestamp", "created_timestamp"
#: The suffix of the name of a packed table.
PACKED = "_packed"


@dataclass(frozen=True)
class OnlineTable:
    """The table of one version of a view: its key columns and its features, each a pair (name, dtype), in order."""

    name: str
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]

    @property
    def identifier(self) -> sql.Identifier:
        """The table's qualified name in SQL."""
        return sql.Identifier(SCHEMA, self.name)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in the view of all columns: the keys, the two times, the features."""
        return (*self.key_names, EVENT_TIME, CREATED_TIME, *(name for name, _ in self.features))

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of `columns`."""
        keys, features = (tuple(dtype for _, dtype in part) for part in (self.keys, self.features))
        return (*keys, "timestamp", "timestamp", *features)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the key columns."""
        return tuple(name for name, _ in self.keys)

    @property
    def key_columns(self) -> tuple[sql.Identifier, ...]:
        """The key columns in SQL."""
        return tuple(column_identifier(name) for name in self.key_names)

    @cached_property
    def is_packed(self) -> bool:
        """Whether the features are stored in arrays, since a row with one column for each might not fit."""
        return needs_packing(self.keys, self.features)

    @property
    def packed_features(self) -> tuple[tuple[str, str], ...]:
        """All features with their dtypes if the table is packed, else none."""
        return self.features if self.is_packed else ()

    @cached_property
    def stored(self) -> tuple[StoredColumn, ...]:
        """The columns that store the features."""
        return stored_columns(self.features, packed=self.is_packed)

    @property
    def stored_order(self) -> tuple[str, ...]:
        """All of `columns`, in the order in which the table stores them."""
        names = (name for column in self.stored for name in column.features)
        return (*self.key_names, EVENT_TIME, CREATED_TIME, *names)

    @property
    def feature_columns(self) -> tuple[sql.Identifier, ...]:
        """The columns in SQL that store the features."""
        return tuple(sql.Identifier(column.name) for column in self.stored)

    @property
    def sql_columns(self) -> tuple[sql.Identifier, ...]:
        """The table's columns in SQL."""
        return (*self.key_columns, sql.Identifier(EVENT_TIME), sql.Identifier(CREATED_TIME), *self.feature_columns)


def column_identifier(name: str) -> sql.Identifier:
    """Return the SQL identifier of the column of the key or feature `name`."""
    return sql.Identifier(column_name(name))


def listed(columns: Iterable[sql.Composable]) -> sql.Composed:
    """Compose a comma-separated list."""
    return sql.SQL(", ").join(columns)


def versioned_name(view: str, version: str) -> str:
    """Return the name of the table of a version of `view`, within PostgreSQL's limit."""
    return f"{short_name(view, LONGEST_NAME - len(version) - 2)}__{version}"
