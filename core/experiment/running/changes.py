"""The changes of running experiments in PostgreSQL: plan, start, ramp, stop; each is one row, with who, when, why, from and to.

The newest row of an experiment holds. A change takes a lock, so that two changes cannot both follow one state.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from core.experiment.assignment import BUCKETS
from core.experiment.running.terms import FORMAT_VERSION, ExperimentError, RunningTerms
from core.postgres.advisory_locks import Lock, hold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import psycopg

    from core.experiment.running.terms import RunningArm

Action = Literal["plan", "start", "ramp", "stop", "rollback", "promote"]
Status = Literal["planned", "running", "stopped"]


@dataclass(frozen=True)
class Author:
    """Who changes an experiment, and why."""

    actor: str
    reason: str


@dataclass(frozen=True)
class ExperimentState:
    """An experiment as it is since its last change."""

    experiment: str
    model: str
    change_id: int
    action: Action
    status: Status
    phase_id: int
    terms: RunningTerms
    actor: str
    reason: str
    changed_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {**asdict(self), "changed_at": self.changed_at.isoformat()}


@dataclass(frozen=True)
class ExperimentChange:
    """One change: the terms before it (None: there were none) and after it."""

    change_id: int
    action: Action
    status: Status
    phase_id: int
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]
    actor: str
    reason: str
    changed_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON values."""
        return {**asdict(self), "changed_at": self.changed_at.isoformat()}


_COLUMNS = "experiment, model, format_version, change_id, action, status, phase_id, terms, actor, reason, changed_at"


def states(connection: psycopg.Connection, model: str) -> list[ExperimentState]:
    """Fetch all experiments of `model`, in the order of their last changes."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM panthera.experiment_now WHERE model = %s ORDER BY change_id", [model]
    ).fetchall()
    return [_state(row) for row in rows]


def running(connection: psycopg.Connection, model: str) -> list[ExperimentState]:
    """Fetch the running experiments of `model`, by the ids of their phases.

    Raises
    ------
    ExperimentError
        If one was written by a newer version of this software.

    """
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM panthera.experiment_now WHERE model = %s AND status = 'running' ORDER BY phase_id",
        [model],
    ).fetchall()
    return [_state(row) for row in rows]


def find_state(connection: psycopg.Connection, model: str, name: str) -> ExperimentState:
    """Fetch an experiment of `model`.

    Raises
    ------
    ExperimentError
        If there is none of that name.

    """
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM panthera.experiment_now WHERE experiment = %s AND model = %s", [name, model]
    ).fetchone()
    if row is None:
        raise ExperimentError(
            f"{model!r} has no experiment {name!r}; `panthera experiment show` lists those that it has, "
            "`panthera experiment plan` adds one"
        )
    return _state(row)


def _state(row: Sequence[Any]) -> ExperimentState:
    name, model, version, change_id, action, status, phase_id, terms, *rest = row
    if version > FORMAT_VERSION:
        raise ExperimentError(
            f"the experiment {name!r} has format {version}, this software knows {FORMAT_VERSION}; update the software"
        )
    return ExperimentState(
        name, model, change_id, action, status, phase_id, RunningTerms.from_json(terms), rest[0], rest[1], rest[2]
    )


def changes(connection: psycopg.Connection, name: str) -> list[ExperimentChange]:
    """Fetch the changes of an experiment, the oldest first."""
    with connection.cursor(row_factory=class_row(ExperimentChange)) as cursor:
        cursor.execute(
            "SELECT change_id, action, status, phase_id, before, after, actor, reason, changed_at "
            "FROM panthera.experiment_change WHERE experiment = %s ORDER BY change_id",
            [name],
        )
        return cursor.fetchall()


def plan_experiment(
    connection: psycopg.Connection, model: str, name: str, terms: RunningTerms, author: Author
) -> ExperimentState:
    """Write an experiment that is planned, or other terms of one that is not started, in the transaction of `connection`.

    Raises
    ------
    ExperimentError
        If the name belongs to another model, to the experiment of a plan, or to an experiment that was started.

    """
    hold(connection, Lock.EXPERIMENT)  # names are shared by all models
    _refuse_taken(connection, model, name)
    connection.execute(
        "INSERT INTO panthera.experiment (experiment, format_version, model) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        [name, FORMAT_VERSION, model],
    )
    row = connection.execute(
        "SELECT status, terms FROM panthera.experiment_now WHERE experiment = %s", [name]
    ).fetchone()
    if row and row[0] != "planned":
        raise ExperimentError(
            f"the experiment {name!r} is {row[0]} and keeps its terms; expected a new name, or `panthera experiment ramp`"
        )
    _write(connection, name, "plan", "planned", None, row[1] if row else None, terms, author)
    return find_state(connection, model, name)


def _refuse_taken(connection: psycopg.Connection, model: str, name: str) -> None:
    owner = connection.execute("SELECT model FROM panthera.experiment WHERE experiment = %s", [name]).fetchone()
    if owner and owner[0] != model:
        raise ExperimentError(
            f"the experiment {name!r} belongs to the model {owner[0]!r} in this database; choose another name"
        )
    if connection.execute(
        "SELECT true FROM panthera.experiment_phase WHERE experiment = %s LIMIT 1", [name]
    ).fetchone() or (
        not owner
        and connection.execute("SELECT true FROM panthera.exposure WHERE experiment = %s LIMIT 1", [name]).fetchone()
    ):
        raise ExperimentError(
            f"{name!r} is the serve.experiment of a plan in this database, and its exposures have that name; "
            "choose another name"
        )


def start(connection: psycopg.Connection, model: str, name: str, coverage: int, author: Author) -> ExperimentState:
    """Start a planned experiment with `coverage`, in a part of its layer that no running experiment occupies.

    Raises
    ------
    ExperimentError
        If it is not planned, or the layer has no such part.

    """

    def started(state: ExperimentState) -> RunningTerms:
        if state.status != "planned":
            raise ExperimentError(f"the experiment {name!r} is {state.status}; only a planned one can be started")
        size = state.terms.layer_to - state.terms.layer_from
        taken = [
            (other.terms.layer_from, other.terms.layer_to)
            for other in running(connection, model)
            if other.terms.layer == state.terms.layer
        ]
        first = _free_part(taken, size)
        if first is None:
            raise ExperimentError(
                f"found no free part of {size / 100:g} % in the layer {state.terms.layer!r}; stop one of its experiments, plan "
                "this one with a smaller --layer-share, or in another --layer"
            )
        return replace(state.terms, coverage=coverage, layer_from=first, layer_to=first + size)

    return _change(connection, model, name, "start", "running", started, author)


def _free_part(taken: Sequence[tuple[int, int]], size: int) -> int | None:
    """Return the start of the first gap of `size` buckets between the parts that are taken; None without one.

    >>> _free_part([(0, 5000)], 5000), _free_part([(0, 5000)], 5001)
    (5000, None)
    """
    free = 0
    for first, end in sorted(taken):
        if first - free >= size:
            return free
        free = max(free, end)
    return free if BUCKETS - free >= size else None


def ramp(
    connection: psycopg.Connection,
    model: str,
    name: str,
    author: Author,
    coverage: int | None = None,
    arms: Sequence[RunningArm] | None = None,
) -> ExperimentState:
    """Raise the coverage of a running experiment, or begin a phase with other arms or weights.

    Raises
    ------
    ExperimentError
        If it does not run, the coverage would fall, or nothing would change.

    """

    def ramped(state: ExperimentState) -> RunningTerms:
        _refuse_unless_running(state)
        terms, wanted = state.terms, coverage if coverage is not None else state.terms.coverage
        if arms is not None and tuple(arms) != terms.arms:
            number = terms.phase + 1
            return replace(terms, arms=tuple(arms), coverage=wanted, phase=number, salt=f"{name}:{number}")
        if wanted <= terms.coverage:
            raise ExperimentError(
                f"the coverage of {name!r} is {terms.coverage / 100:g} %, found {wanted / 100:g} %; coverage only rises, so "
                "that nobody leaves an arm: expected a higher one, or `panthera experiment stop`"
            )
        return replace(terms, coverage=wanted)

    return _change(connection, model, name, "ramp", "running", ramped, author)


def stop(
    connection: psycopg.Connection,
    model: str,
    name: str,
    author: Author,
    action: Literal["stop", "rollback", "promote"] = "stop",
    change_id: int | None = None,
) -> ExperimentState:
    """Stop a planned or running experiment; it cannot be started again.

    Parameters
    ----------
    change_id : the change that the caller has judged; the stop is refused if there is a newer one.

    Raises
    ------
    ExperimentError
        If it is stopped already, or was changed after `change_id`.

    """

    def stopped(state: ExperimentState) -> RunningTerms:
        if state.status == "stopped":
            raise ExperimentError(f"the experiment {name!r} is stopped already; nothing was changed")
        if change_id is not None and state.change_id != change_id:
            raise ExperimentError(f"the experiment {name!r} was changed meanwhile; nothing was changed")
        return state.terms

    return _change(connection, model, name, action, "stopped", stopped, author)


def _refuse_unless_running(state: ExperimentState) -> None:
    if state.status != "running":
        raise ExperimentError(f"the experiment {state.experiment!r} is {state.status}; expected a running one")


def _change(
    connection: psycopg.Connection,
    model: str,
    name: str,
    action: Action,
    status: Status,
    changed: Callable[[ExperimentState], RunningTerms],
    author: Author,
) -> ExperimentState:
    hold(connection, Lock.EXPERIMENT)
    state = find_state(connection, model, name)
    terms = changed(state)
    # A phase begins with its arms; another coverage continues it.
    phase_id = state.phase_id if terms.phase == state.terms.phase else None
    _write(connection, name, action, status, phase_id, state.terms.to_json(), terms, author)
    return find_state(connection, model, name)


def _write(
    connection: psycopg.Connection,
    name: str,
    action: Action,
    status: Status,
    phase_id: int | None,
    before: Mapping[str, Any] | None,
    terms: RunningTerms,
    author: Author,
) -> None:
    connection.execute(
        "INSERT INTO panthera.experiment_change (experiment, action, status, phase_id, before, after, actor, reason) VALUES "
        "(%s, %s, %s, coalesce(%s, nextval(pg_get_serial_sequence('panthera.experiment_phase', 'phase_id'))::int), "
        "%s, %s, %s, %s)",
        [
            name,
            action,
            status,
            phase_id,
            None if before is None else Jsonb(before),
            Jsonb(terms.to_json()),
            author.actor,
            author.reason,
        ],
    )
