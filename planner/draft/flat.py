"""Draft a plan for a table with one row for each entity, whose target is a column."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core.errors import PantheraError
from feature_repo.files.duck import identifier
from planner.draft.groups import draft_group
from planner.draft.keys import draft_key, entity_name
from planner.draft.leaks import find_leaks
from planner.draft.look_ups import draft_look_ups, key_features
from planner.draft.model import Shape, draft_model, is_count_column
from planner.draft.no_features import MOST_GROUPS, TELLS_APART, no_feature
from planner.draft.sources import draft_source
from planner.draft.target import draft_target

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from planner.draft.leaks import Suspect
    from planner.draft.sheet import Sheet
    from planner.draft.target import Target
    from planner.draft.task import ColumnTask
    from planner.profile.column import Column
    from planner.profile.profile import Profile, Table

#: Mean number of words from which on values that differ in most rows are free text.
_WORDS = 2
VIEW = "row"


def draft_flat(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    profile: Profile,
    table: Table,
    column: Column,
    task: ColumnTask,
    key: str | None,
    folder: Path,
) -> None:
    """Put all sections of a plan for one table into the sheet.

    Raises
    ------
    PantheraError
        If the target, the key or the rows do not allow a plan.

    """
    if len(table.columns) < 2:  # noqa: PLR2004 - a target and a feature
        raise PantheraError(
            f"the table {table.name} has the column {column.raw!r} alone; a prediction needs other columns"
        )
    target = draft_target(sheet, connection, table, column, task)
    table, own = draft_key(sheet, connection, table, column, key, folder)
    entity = entity_name(table, own)
    group = draft_group(sheet, connection, table, (own.name, column.name))
    features = draft_features(sheet, connection, table, {own.name, column.name, group.name if group else ""}, target)
    read = {own.name, column.name, *(one.name for one in features), *([group.name] if group else [])}
    kept = [one for one in table.columns if one.name in read or one.treatment == "remove"]
    put_project(sheet, table, target, task)
    sheet.put(f"entities.{entity}", {"key": own.name, "dtype": own.dtype, "source": table.name})
    draft_source(sheet, connection, table, kept, folder)
    sheet.plan["ingest"][table.name]["entity"] = entity
    sheet.put("label", target.section, f"{target.rows:,} of {table.rows:,} rows have a label", rows=table.rows)
    joined = draft_look_ups(sheet, connection, profile, table, folder)
    _view(sheet, table, *key_features(sheet, features), joined)
    _training_set(sheet, table, target, group)
    name = sheet.plan["project"]["name"]
    draft_model(sheet, name, shape_of(target, [*features, *joined]))
    put_groups(sheet, features)


def shape_of(target: Target, features: Sequence[Column]) -> Shape:
    """Return what decides about the candidates of a table without times."""
    texts = [one for one in features if one.kind == "text"]
    levels = max((one.distinct for one in features if one.kind == "string"), default=0)
    is_count = target.problem == "regression" and is_count_column(target.column)
    return Shape(target.problem, target.rows, target.balance, has_text=bool(texts), levels=levels, is_count=is_count)


def put_project(sheet: Sheet, table: Table, target: Target, task: ColumnTask) -> None:
    """Put the section `project` into the sheet."""
    name = sheet.answers.get("project") or table.name.replace("_", "-")[:60].strip("-")
    compared = f" {task.operator} {task.value}" if task.operator else ""
    statement = f"Predict {target.column.name}{compared} for each row of {table.name}."
    sheet.put("project", {"name": name, "problem": target.problem, "statement": statement})


def draft_features(
    sheet: Sheet, connection: duckdb.DuckDBPyConnection, table: Table, own: Collection[str], target: Target
) -> list[Column]:
    """Return the columns besides `own` that are features; notes state why others are left out."""
    able = []
    for found in table.columns:
        if found.name not in own:
            column = _as_text(connection, table, found)
            reason = no_feature(column, table)
            if reason is None:
                able.append(column)
            else:
                sheet.notes.append(f"{column.raw!r} is no feature: {reason}")
    suspects = {one.column: one for one in find_leaks(connection, table, able, target.sql, target.problem)}
    kept = [column for column in able if _is_kept(sheet, column, suspects.get(column.name))]
    allowed = {
        f"{VIEW}.{one.name}": f"drafted: {suspects[one.name].why}; confirm that it is known before the target"
        for one in kept
        if one.name in suspects
    }
    if allowed:
        why = "these tell much of the target, and may be known only after it"
        sheet.put("training_set.leakage.allow", allowed, why)
    if not kept:
        reasons = "; ".join(sheet.notes) or "it has the key and the target alone"
        raise PantheraError(f"no column of {table.name} is left as a feature: {reasons}")
    return kept


def _is_kept(sheet: Sheet, column: Column, suspect: Suspect | None) -> bool:
    """Return whether a column is a feature; for one that seems to leak the target, a person's answer decides."""
    if suspect is None or not suspect.is_left_out:
        return True
    asks = f"Is {column.raw!r} known before the target? {suspect.why}."
    changes = "whether it is a feature; results are too good if it is known only afterwards"
    if sheet.ask(f"leak.{column.name}", asks, "no", ["no", "yes"], changes, 70).lower() in {"yes", "true"}:
        return True
    sheet.notes.append(f"{column.raw!r} is no feature: {suspect.why}; it may be known only after the target")
    return False


def _view(
    sheet: Sheet, table: Table, features: Sequence[Column], keys: Mapping[str, str], joined: Sequence[Column]
) -> None:
    path = f"build_features.views.{VIEW}"
    plain = [column.name for column in features if column.kind != "text"]
    sheet.put(path, {"source": table.name})
    if plain:
        sheet.put(f"{path}.columns", plain, "the columns as they are; those that are left out are named at the top")
    texts = {
        column.name: {"sql": identifier(column.name), "dtype": "text", "meaning": f"free text of {column.name}"}
        for column in features
        if column.kind == "text"
    }
    looked_up = {
        one.name: {"sql": identifier(one.name), "dtype": one.dtype, "meaning": f"column {one.name}"} for one in joined
    }
    looked_up |= {name: {"sql": sql, "dtype": "string", "meaning": "key of a look-up"} for name, sql in keys.items()}
    if texts or looked_up:
        why = "free text, which only text steps of a candidate read" if texts else "columns of look-ups"
        sheet.put(f"{path}.features", {**texts, **looked_up}, why)
    sheet.put("build_features.services", {"everything": [f"{VIEW}.*"]})


def _as_text(connection: duckdb.DuckDBPyConnection, table: Table, column: Column) -> Column:
    """Return a column of several words that differ in most rows, such as titles, as free text; names of people are none."""
    if column.kind != "string" or column.personal or column.distinct <= TELLS_APART * column.values:
        return column
    value = identifier(column.name)
    ((words, digits),) = connection.execute(
        f"SELECT avg(len(string_split(trim({value}), ' '))), avg(CAST(regexp_matches({value}, '\\d') AS INTEGER)) "
        f"FROM {table.loaded.relation}"
    ).fetchall()
    is_text = words is not None and words >= _WORDS and digits < TELLS_APART
    return replace(column, kind="text") if is_text else column


def _training_set(sheet: Sheet, table: Table, target: Target, group: Column | None) -> None:
    sheet.put("training_set.service", "everything")
    if group is not None:
        sheet.put("build_features.views.together", {"source": table.name, "columns": [group.name]})
        why = f"rows with the same {group.raw!r} are about one and the same: none is trained on while another is tested"
        sheet.put("training_set.split", {"kind": "grouped", "by": f"together.{group.name}"}, why)
    elif target.problem == "regression":
        sheet.put("training_set.split", {"kind": "random"}, "no time and no classes: rows at random")
    else:
        sheet.put("training_set.split", {"kind": "stratified"}, "no time: rows at random, alike in their classes")


def put_groups(sheet: Sheet, features: Sequence[Column]) -> None:
    """Put protected attributes into the sheet as groups of the evaluation."""
    groups = {
        column.name: {"feature": f"{VIEW}.{column.name}"}
        for column in features
        if column.personal == "protected attribute"
        and column.kind in {"string", "bool"}
        and column.distinct <= MOST_GROUPS
    }
    if groups:
        sheet.put("evaluate.groups", groups, "protected attributes; results are shown for each of their values")
