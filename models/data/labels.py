"""Compute labels: the outcome of each entity within the horizon after an as-of instant."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import PlanError
from feature_repo.files.datasets import accepted_glob, open_rows
from feature_repo.files.duck import fetch, identifier, open_duckdb
from feature_repo.files.exact import exact_or_error
from feature_repo.views.existence import asked_in, instants, open_existence
from feature_repo.views.facts import Fact, Span, of_the_row
from feature_repo.views.instant_facts import facts_at_instants

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Entity, Problem
    from core.plan.times import Period
    from core.plan.training_set import Label
    from feature_repo.views.facts import Facts


class Labelled(NamedTuple):
    """Rows with a label, and the number of those that have none."""

    rows: pa.Table
    unlabelled: int


#: What a label is kept as, by problem.
_DTYPES = {"binary": "int32", "multiclass": "string", "regression": "float64"}


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
    facts = _facts_after(label) if has_time else _facts_of_row(label)
    try:
        found = pa.concat_tables(
            facts_at_instants(connection, facts, {label.source: rows}, asked_in(connection, key, grid))
        )
        connection.register("facts", found)
        value = exact_or_error("_label", _DTYPES[problem])
        chosen = f"(SELECT {identifier(key)}, as_of, _label FROM facts WHERE _member)"
        table = fetch(connection, f"SELECT {identifier(key)}, as_of, {value} AS label FROM {chosen} ORDER BY ALL")
    except duckdb.Error as error:
        raise PlanError(f"label: its SQL fails: {' '.join(str(error).split())}") from None
    _refuse_unlabelled(table.column("label"), label)
    _check(table.column("label").drop_null(), label, problem)
    return table


def _facts_after(label: Label) -> Facts:
    after = Span(label.source, window=label.horizon, lag=-label.closes_after, knowable=False)
    return {Span(label.source): {"_member": Fact(label.population)}, after: {"_label": Fact(label.value)}}


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
        return
    if problem == "binary":
        strange = values.filter(pc.invert(pc.is_in(values, pa.array([0, 1], values.type))))
        wanted = "a binary problem needs a condition, 0 or 1"
    else:
        strange = values.filter(pc.invert(pc.is_finite(values)))
        wanted = "a regression needs a finite number for every row"
    if len(strange):
        raise PlanError(f"{label.path}: {label.expression!r} gives {strange[0].as_py()}; {wanted}")


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
        table = label_rows(connection, label, entity.key, rows, grid, problem, has_time=has_time)
    known = table.filter(pc.is_valid(table.column("label")))
    return Labelled(known, len(table) - len(known))
