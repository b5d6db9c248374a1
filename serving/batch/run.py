"""Score many entities with one release: read, score and write portion by portion; a portion is read while another is scored."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from core.errors import BundleError, PantheraError, StaleStateError
from core.json_text import plain
from core.postgres.database import connect, ensure_database
from core.terminal import terminal_table
from models.bundles.signing import read_trusted
from models.releases.ledger import current, find_release
from serving.batch.entities import read_keys
from serving.batch.scores import DECISION, ERROR, SCORE, ColumnScorer, above_or_below, column_reader, worst_statuses
from serving.predict import Policy
from serving.releases import BundleFolder, Loader
from serving.wire.refusals import ReleaseFault
from serving.wire.values import EntityKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    import psycopg
    from rich.table import Table

    from core.plan.plan import Plan
    from core.settings import Settings
    from feature_repo.online.column_reads import ColumnReader, ViewColumns
    from models.releases.ledger import LedgerRelease
    from serving.active_releases import ActiveReleases
    from serving.batch.outputs import Open, Write

#: Entities that are read, scored and written together.
_PORTION = 65_536
_HEAD_ROWS = 10
_DIGITS = 6


@dataclass(frozen=True)
class Asked:
    """What to score.

    Attributes
    ----------
    release : id of a release, or a role.
    entities : file with keys; None is all entities with an online row.
    as_of : past instant; None is the time of each read, as in a request without one.
    top : number of entities with the highest scores that get the decision `above`; None decides by the threshold.

    """

    release: str
    entities: Path | None = None
    as_of: datetime | None = None
    top: int | None = None


@dataclass
class ScoreSummary:
    """The outcome of a run.

    Attributes
    ----------
    entities, scored : number of entities, and of those with a score.
    statuses : number of entities by their worst status over the views that the release reads.
    decisions, errors : number of entities by decision, and by the code of their refusal.
    head : the first rows.

    """

    release: str
    written_to: str | None
    entities: int = 0
    scored: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    head: list[dict[str, Any]] = field(default_factory=list)

    def add(self, rows: pa.Table, top: str | None) -> None:
        """Count the rows of a portion; `top` is the decision of the highest scores if a number of them was asked for."""
        self.entities += rows.num_rows
        self.scored += rows.num_rows - rows.column(SCORE).null_count
        self.statuses.update({status: count for status, count in worst_statuses(rows).items() if count})
        for counts, name in ((self.decisions, DECISION), (self.errors, ERROR)):
            counted = rows.column(name).combine_chunks().value_counts()
            counts.update({str(each["values"]): each["counts"].as_py() for each in counted if each["values"].is_valid})
        if top is not None:
            chosen = rows.filter(pa.compute.equal(rows.column(DECISION), top))
            best = sorted((*self.head, *chosen.to_pylist()), key=lambda row: -row[SCORE])
            self.head = best[:_HEAD_ROWS]
        elif len(self.head) < _HEAD_ROWS:
            self.head += rows.slice(0, _HEAD_ROWS - len(self.head)).to_pylist()

    def to_dict(self) -> dict[str, object]:
        """Return the summary as JSON types."""
        return {**plain(self), "entities_per_second": round(self.entities / self.seconds)}

    def table(self) -> Table:
        """Return the first rows, or those with the highest scores if a number of them was asked for; the counts are below."""
        key = next(iter(self.head[0]))
        statuses = [name for name in self.head[0] if name.endswith("__status")]
        shown = [key, SCORE, DECISION, ERROR, *statuses]
        table = terminal_table(*shown, numbers=(SCORE,), title=f"Scores of {self.release}", caption=self._caption())
        for row in self.head:
            table.add_row(*(_cell(row[name]) for name in shown))
        return table

    def _caption(self) -> str:
        counts = [*self.decisions.items(), *self.errors.items(), *self.statuses.items()]
        told = ", ".join(f"{name} {count:,}" for name, count in counts)
        where = f"; written to {self.written_to}" if self.written_to else ""
        return (
            f"{self.entities:,} entities in {self.seconds:.1f} s, {self.scored:,} with a score: {told}{where}. "
            "They are not in the prediction log."
        )


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def score_entities(
    settings: Settings,
    plan: Plan,
    asked: Asked,
    clock: Callable[[], datetime],
    output: Callable[[str], Open] | None = None,
    written_to: str | None = None,
) -> ScoreSummary:
    """Score entities with one release, and return the counts and the first rows.

    Parameters
    ----------
    output : returns what the rows are written to, from the URL of the database; None writes nothing.
    written_to : the name of the output, for the summary.

    Raises
    ------
    PantheraError
        If there is no such release, it cannot score, there is no entity, or the output cannot be written.

    """
    url, key = ensure_database(settings), EntityKey(plan.unit.key, plan.unit.dtype)
    began = perf_counter()
    active = _loaded(url, settings, plan, asked.release, key)
    scorer = ColumnScorer(active.champion, Policy.of(plan.serve))
    if asked.top is not None and scorer.contract.classes:
        raise PantheraError(
            "found --top with a problem of several classes; expected one score for each entity: leave it out"
        )
    summary = ScoreSummary(active.champion.release_id, written_to)
    with connect(url) as connection:
        connection.autocommit = True
        reader = column_reader(active)
        keys = reader.keys(connection) if asked.entities is None else read_keys(asked.entities, key)
        if not len(keys):
            raise StaleStateError(
                "no entity is online; run `dvc repro`, or `panthera repair` if that finds nothing to do"
            )
        portions = _scored(connection, reader, scorer, keys, asked.as_of, clock)
        chosen = portions if asked.top is None else _top(list(portions), asked.top, scorer.policy)
        top = None if asked.top is None else scorer.policy.above
        _write(chosen, output(url) if output else _nowhere, summary, top)
    summary.seconds = perf_counter() - began
    return summary


def _loaded(url: str, settings: Settings, plan: Plan, named: str, key: EntityKey) -> ActiveReleases:
    model = plan.register_.model
    loader = Loader(model, BundleFolder(settings.bundles), key, plan.serve.experiment)
    with connect(url) as connection:
        release = _found(connection, model, named)
        try:
            return loader.load_one(connection, read_trusted(settings), release)
        except ReleaseFault as error:
            # The service withholds paths from its clients; here the whole message may be shown.
            raise error.__cause__ if isinstance(error.__cause__, BundleError) else error from None


def _found(connection: psycopg.Connection, model: str, named: str) -> LedgerRelease:
    release = current(connection, model, named) or find_release(connection, named)
    if release is None or release.model != model:
        raise StaleStateError(
            f"found no release {named!r} of the model {model!r}, by its id or its role; `panthera releases` lists them"
        )
    return release


def _scored(
    connection: psycopg.Connection,
    reader: ColumnReader,
    scorer: ColumnScorer,
    keys: pa.Array,
    as_of: datetime | None,
    clock: Callable[[], datetime],
) -> Iterator[pa.Table]:
    """Yield the scores of each portion of `keys`; the next portion is read in a thread meanwhile."""

    def read(begin: int) -> tuple[pa.Array, dict[str, ViewColumns], datetime]:
        portion, instant = keys.slice(begin, _PORTION), as_of or clock()
        return portion, reader.read(connection, portion.to_pylist(), instant), instant

    begins = iter(range(0, len(keys), _PORTION))
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(read, next(begins))
        for begin in begins:
            done, waiting = waiting.result(), thread.submit(read, begin)
            yield scorer.score(*done)
        yield scorer.score(*waiting.result())


def _top(portions: list[pa.Table], count: int, policy: Policy) -> Iterator[pa.Table]:
    """Yield the portions with the decision `above` for the `count` highest scores; among equal scores the first rows win."""
    scores = np.concatenate([rows.column(SCORE).to_numpy() for rows in portions])  # null becomes NaN, which sorts last
    chosen = np.zeros(len(scores), np.bool_)
    chosen[np.argsort(-scores, kind="stable")[:count]] = True
    begin = 0
    for rows in portions:
        decisions = above_or_below(chosen[begin : begin + rows.num_rows], policy)
        begin += rows.num_rows
        known = pa.compute.if_else(rows.column(SCORE).is_valid(), decisions, pa.scalar(None, decisions.type))
        yield rows.set_column(rows.column_names.index(DECISION), DECISION, known)


@contextmanager
def _nowhere(_: pa.Schema) -> Iterator[Write]:
    yield lambda _: None


def _write(portions: Iterable[pa.Table], output: Open, summary: ScoreSummary, top: str | None) -> None:
    rows = iter(portions)
    first = next(rows)
    with output(first.schema) as write:
        write(first)
        summary.add(first, top)
        for portion in rows:
            write(portion)
            summary.add(portion, top)
