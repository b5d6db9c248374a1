"""The online tables that releases with a role read: how each can be filled, and which no run fills any more.

A release reads the tables of the definitions that it was trained on, while the plan's views may have changed since. So every
run that fills the plan's tables also fills these, by the definitions that are recorded in the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row

from core.json_text import plain
from feature_repo.online import history
from feature_repo.online.tables import exists
from feature_repo.views.definitions import FORMAT_VERSION, definition_from_json, earlier_name, view_definitions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    import psycopg

    from core.plan.plan import Plan
    from feature_repo.online.table import OnlineTable
    from feature_repo.views.definitions import ViewDefinition

_IN_USE = """
SELECT role, release_id, view, online_table
FROM (
    SELECT DISTINCT ON (model, role) role, release_id FROM panthera.release_role WHERE model = coalesce(%s, model)
    ORDER BY model, role, change_id DESC
) AS holder
JOIN panthera.release_table USING (release_id)
UNION
SELECT 'experiment ' || experiment, release_id, view, online_table
FROM panthera.experiment_now
CROSS JOIN jsonb_to_recordset(terms -> 'arms') AS arm (release text)
JOIN panthera.release_table ON release_id = release
WHERE status = 'running' AND model = coalesce(%s, model)
ORDER BY role, release_id, view
"""
_NOT_FILLABLE = (
    "the plan's definition of the view has changed, and the definition of this table is not recorded or its sources have "
    "changed; promote a release of the present plan, or run with the plan that it was trained with"
)


@dataclass(frozen=True)
class TableInUse:
    """An online table that the release with a role reads for a view."""

    role: str
    release_id: str
    view: str
    online_table: str


@dataclass(frozen=True)
class KeptTable:
    """A table in use that the plan does not name, with the definition that fills it.

    Attributes
    ----------
    same_values : whether the plan's view of that name has the same values, so that its rows fill this table too.

    """

    table: OnlineTable
    definition: ViewDefinition
    same_values: bool


@dataclass(frozen=True)
class Unfilled:
    """A table in use that no run fills any more, and why; `watermark` is the instant as of which it was last filled."""

    role: str
    release_id: str
    view: str
    online_table: str
    watermark: datetime | None
    reason: str

    def __str__(self) -> str:
        return (
            f"no run fills online.{self.online_table}, which the {self.role} {self.release_id} reads for the view "
            f"{self.view!r}: {self.reason}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return dict(plain(self))


@dataclass(frozen=True)
class Upkeep:
    """The tables that releases read besides the plan's own: those that can be filled, and those that no run fills."""

    kept: tuple[KeptTable, ...] = ()
    unfilled: tuple[Unfilled, ...] = ()

    def beside(self, view: str) -> list[OnlineTable]:
        """Return the further tables that have the values of the plan's view of that name."""
        return [each.table for each in self.kept if each.same_values and each.definition.name == view]


def record_definitions(connection: psycopg.Connection, plan: Plan) -> None:
    """Write the definitions of the plan's views to the database, by online table.

    A table whose name is that of an earlier version for the present plan has the same definition, which is written too.
    """
    for name, definition in view_definitions(plan).items():
        _record(connection, definition.table.name, definition)
        earlier = earlier_name(plan, name)
        # Earlier versions had no packed tables.
        if exists(connection, earlier) and not definition.table.is_packed:
            _record(connection, earlier, definition)


def _record(connection: psycopg.Connection, table: str, definition: ViewDefinition) -> None:
    connection.execute(
        "INSERT INTO panthera.view_definition (online_table, format_version, view, fingerprint, definition) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [table, FORMAT_VERSION, definition.name, definition.fingerprint, definition.to_json()],
    )


def fingerprints(connection: psycopg.Connection) -> dict[str, str]:
    """Return the recorded fingerprints of online tables, by table name."""
    return dict(connection.execute("SELECT online_table, fingerprint FROM panthera.view_definition").fetchall())


def tables_in_use(connection: psycopg.Connection, model: str | None) -> list[TableInUse]:
    """Fetch the tables that the releases with a role, or in a running experiment, of `model`, or of any model, read."""
    with connection.cursor(row_factory=class_row(TableInUse)) as cursor:
        return cursor.execute(_IN_USE, [model, model]).fetchall()


def upkeep(connection: psycopg.Connection, plan: Plan, model: str | None) -> Upkeep:
    """Return how the tables are filled that the releases with a role of `model`, or of any model, read."""
    return upkeep_of(connection, plan, view_definitions(plan), tables_in_use(connection, model))


def upkeep_of(
    connection: psycopg.Connection, plan: Plan, declared: Mapping[str, ViewDefinition], in_use: Sequence[TableInUse]
) -> Upkeep:
    """Return how the tables `in_use` are filled; `declared` has the definitions of the plan's views by name."""
    tables = {name: definition.table.name for name, definition in declared.items()}
    fillable = _fillable(connection, plan, declared, {use.online_table for use in in_use} - {*tables.values()})
    marks = history.watermarks(connection, [*tables.values(), *(use.online_table for use in in_use)])
    newest = max((marks[name] for name in tables.values() if name in marks), default=None)
    unfilled = []
    for use in in_use:
        mark = marks.get(use.online_table)
        plan_mark = marks.get(tables[use.view]) if use.view in tables else newest
        can_be_filled = use.online_table in tables.values() or use.online_table in fillable
        if reason := _reason(mark, plan_mark) if can_be_filled else _NOT_FILLABLE:
            unfilled.append(Unfilled(use.role, use.release_id, use.view, use.online_table, mark, reason))
    return Upkeep(tuple(fillable.values()), tuple(unfilled))


def _fillable(
    connection: psycopg.Connection, plan: Plan, declared: Mapping[str, ViewDefinition], names: Collection[str]
) -> dict[str, KeptTable]:
    """Return those of the tables `names` that can be filled, by table name.

    These are the tables that an earlier version named for the present views of the plan, and the tables whose recorded
    definition still has the same fingerprint over the plan's sources.
    """
    if not names:
        return {}
    earlier = {earlier_name(plan, name): definition for name, definition in declared.items()}
    fillable = {
        table: KeptTable(definition.table_named(table), definition, same_values=True)
        for table, definition in earlier.items()
        if table in names and not definition.table.is_packed
    }
    stored = connection.execute(
        "SELECT online_table, view, fingerprint, definition FROM panthera.view_definition "
        "WHERE online_table = ANY(%s) ORDER BY online_table",
        [list(names)],
    ).fetchall()
    for table, view, fingerprint, definition in stored:
        present = definition_from_json(plan, view, definition)
        if present and present.fingerprint == fingerprint:
            same_values = view in declared and declared[view].fingerprint == fingerprint
            fillable[table] = KeptTable(present.table_named(table), present, same_values)
    return fillable


def _reason(mark: datetime | None, plan_mark: datetime | None) -> str | None:
    if mark is None:
        return "no run has filled it; run `dvc repro`, or `panthera catch-up`"
    if plan_mark is not None and mark < plan_mark:
        return (
            f"it was filled as of {mark:%Y-%m-%d %H:%M}, the plan's own table as of {plan_mark:%Y-%m-%d %H:%M}; run "
            "`panthera catch-up`"
        )
    return None
