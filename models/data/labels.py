"""Compute labels: the outcome of each entity within the horizon after an as-of instant."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import PlanError
from feature_repo.files.datasets import accepted_glob, open_rows
from feature_repo.files.duck import fetch, identifier, open_duckdb
from feature_repo.files.exact import exact_or_error
from feature_repo.views.existence import asked_in, instants, open_existence, open_row_instants
from feature_repo.views.facts import Fact, Span, of_the_row, parenthesized
from feature_repo.views.instant_facts import facts_at_instants
from feature_repo.views.pair_facts import facts_of_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from core.plan.plan import Entity, Plan, Problem
    from core.plan.times import Period
    from core.plan.training_set import AsOf, Label
    from feature_repo.views.facts import Facts


class Labelled(NamedTuple):
    """Rows with a label, and the number of those that have none."""

    rows: pa.Table
    unlabelled: int


#: What a label is kept as, by problem.
LABEL_DTYPES = {"binary": "int32", "multiclass": "string", "regression": "float64"}


def label_rows(
    connection: duckdb.DuckDBPyConnection,
    label: Label,
    key: str,
    rows: str,
    grid: str,
    problem: Problem = "binary",
    *,
    has_time: bool = True,
) -> pa.Table:
    """Return the label of every (entity, as of) pair of `grid` that belongs to the label's population.

    Parameters
    ----------
    connection, key, grid : as for `feature_repo.views.rows.compute_view`.
    rows : name of the relation with the accepted rows of the label's source.
    label : as the plan declares it. Its population uses the rows knowable at as of. Its value uses all rows with
        as of + lead < event time <= as of + lead + horizon, whenever they became known.
    has_time : whether its source has event times; without them both are judged on the entity's one row.

    Returns
    -------
    Columns `key`, `as_of` and `label`, sorted by the first two: an int32 that is 0 or 1, of a multiclass problem the class
    as a string, of a regression a float64; null where the label is not known and the plan leaves such rows out.

    Raises
    ------
    PlanError
        If the SQL of population or value fails, a value is not a label of such a problem, or it is null and the plan
        does not say what that means.

    """
    facts = _population(label) | _after(label) if has_time else _facts_of_row(label)
    pairs = asked_in(connection, key, grid)
    with _told():
        found = pa.concat_tables(facts_at_instants(connection, facts, {label.source: rows}, pairs))
        return _typed(connection, found, key, label, problem)


def row_labels(
    connection: duckdb.DuckDBPyConnection, label: Label, key: str, rows: str, grid: str, problem: Problem
) -> pa.Table:
    """Return the label of every (entity, as of) pair of `grid` in the population, where `grid` has the times of rows.

    A label without a window is that of the row which became known at `as of`. The other parameters, the returned columns and
    the errors are those of `label_rows`. Rows are joined to the pairs by their entity, since each instant has few rows.

    Raises
    ------
    PlanError
        If several rows of one entity at one instant have different labels.

    """
    facts: Facts = _population(label) if label.states_population else {}
    in_row = label.horizon == timedelta()
    with _told():
        found = facts_of_pairs(connection, facts if in_row else facts | _after(label), key, {label.source: rows}, grid)
        if in_row:
            connection.register("asked", found)
            found = _with_own_labels(connection, label, key, rows)
        return _typed(connection, found, key, label, problem)


def _with_own_labels(connection: duckdb.DuckDBPyConnection, label: Label, key: str, rows: str) -> pa.Table:
    """Return the pairs of the relation `asked`, each with the label of the row that became known at its instant."""
    column, value = identifier(key), parenthesized(label.expression)
    found = fetch(
        connection,
        f"""SELECT asked.*, _label, _several FROM asked JOIN (
                SELECT {column}, as_of, max(_value) AS _label, count(DISTINCT _value) > 1 AS _several
                FROM (SELECT {column}, greatest(event_time, created_time) AS as_of, {value} AS _value FROM {rows})
                GROUP BY {column}, as_of
            ) USING ({column}, as_of)""",
    )
    several = pc.sum(found.column("_several")).as_py() or 0
    if several:
        raise PlanError(
            f"{label.path}: at {several:,} of {len(found):,} instants several rows of one {key} have different labels; make "
            "each row an entity of its own, or give the rows times of their own"
        )
    return found


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise PlanError(f"label: its SQL fails: {' '.join(str(error).split())}") from None


def _typed(
    connection: duckdb.DuckDBPyConnection, found: pa.Table, key: str, label: Label, problem: Problem
) -> pa.Table:
    """Return the labels of the facts in the population, in the type of the problem."""
    connection.register("facts", found)
    value = exact_or_error("_label", LABEL_DTYPES[problem])
    members = "_member" if "_member" in found.column_names else "true"
    chosen = f"(SELECT {identifier(key)}, as_of, _label FROM facts WHERE {members})"
    table = fetch(connection, f"SELECT {identifier(key)}, as_of, {value} AS label FROM {chosen} ORDER BY ALL")
    _refuse_unlabelled(table.column("label"), label)
    _check(table.column("label").drop_null(), label, problem)
    return table


def _population(label: Label) -> Facts:
    return {Span(label.source): {"_member": Fact(label.population)}}


def _after(label: Label) -> Facts:
    after = Span(label.source, window=label.horizon, lag=-label.closes_after, knowable=False)
    return {after: {"_label": Fact(label.value)}}


def _facts_of_row(label: Label) -> Facts:
    member = of_the_row(label.population) if label.states_population else "true"
    return {Span(label.source): {"_member": Fact(member), "_label": Fact(of_the_row(label.expression))}}


def _refuse_unlabelled(values: pa.ChunkedArray, label: Label) -> None:
    if values.null_count and label.unlabelled == "refuse":
        raise PlanError(
            f"{label.path}: {label.expression!r} is null for {values.null_count:,} of {len(values):,} rows, which have no "
            "label; write label.unlabelled: leave_out to train without them, or correct the SQL"
        )


def _check(values: pa.ChunkedArray, label: Label, problem: Problem) -> None:
    if problem == "multiclass":
        if label.order is not None:
            _check_order(values, label)
        return
    if problem == "binary":
        strange = values.filter(pc.invert(pc.is_in(values, pa.array([0, 1], values.type))))
        wanted = "a binary problem needs a condition, 0 or 1"
    else:
        strange = values.filter(pc.invert(pc.is_finite(values)))
        wanted = "a regression needs a finite number for every row"
    if len(strange):
        raise PlanError(f"{label.path}: {label.expression!r} gives {strange[0].as_py()}; {wanted}")


def _check_order(values: pa.ChunkedArray, label: Label) -> None:
    strange = values.filter(pc.invert(pc.is_in(values, pa.array(label.ordered, pa.string()))))
    if len(strange):
        listed = ", ".join(label.ordered)
        raise PlanError(
            f"{label.path}: {label.expression!r} gives {strange[0].as_py()!r}, which is not in label.order ({listed}); add "
            "it there, or correct the SQL"
        )


def labelled_entities(
    accepted: Path,
    label: Label,
    entity: Entity,
    period: Period,
    every: str,
    problem: Problem = "binary",
    *,
    has_time: bool = True,
) -> Labelled:
    """Return the labels of all entities that existed at each instant of `period`; columns: key, as_of, label."""
    with open_duckdb() as connection:
        rows = open_rows(connection, "label_source", accepted_glob(accepted, label.source))
        files = partial(accepted_glob, accepted)
        grid = open_existence(connection, "grid", entity, files, instants(period, every))
        return _known(label_rows(connection, label, entity.key, rows, grid, problem, has_time=has_time))


def labelled_instants(
    accepted: Path, label: Label, entity: Entity, as_of: AsOf, problem: Problem = "binary"
) -> Labelled:
    """Return labels as of the times of the rows of a source; columns: key, as_of, label."""
    files = partial(accepted_glob, accepted)
    with open_duckdb() as connection:
        rows = open_rows(connection, "label_source", files(label.source))
        instant_rows = open_rows(connection, "instant_rows", files(str(as_of.each_row_of)))
        grid = open_row_instants(connection, "grid", entity, files, instant_rows, as_of)
        return _known(row_labels(connection, label, entity.key, rows, grid, problem))


def plan_labels(plan: Plan, accepted: Path) -> Labelled:
    """Return the labelled entities as of the instants of the plan's training set."""
    as_of, problem = plan.training_set.as_of, plan.project.problem
    if as_of.every is None:
        return labelled_instants(accepted, plan.label, plan.unit, as_of, problem)
    return labelled_entities(accepted, plan.label, plan.unit, as_of, as_of.every, problem, has_time=plan.has_time)


def _known(table: pa.Table) -> Labelled:
    known = table.filter(pc.is_valid(table.column("label")))
    return Labelled(known, len(table) - len(known))
