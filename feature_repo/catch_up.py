"""Catch up with growing sources: ingest their new rows, and write the features of an instant to the online tables.

The stages recompute everything from the sources up to the plan's instants. A catch-up continues from there, day by day, until
the stages run again. It writes new rows to the ledger of the source, which the stage `validate` reads too. So the accepted
rows are the same whether the stage or a catch-up wrote them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.errors import QualityError
from core.files import private_folder, require, whole_folder
from core.json_text import plain
from core.plan.ingest import QualityRules
from core.plan.times import WITHOUT_TIME
from core.postgres.database import connect, ensure_database
from feature_repo.files.datasets import (
    accepted_glob,
    files_of,
    raw_file,
    raw_rows,
    rows_ledger,
    snapshot_glob,
    snapshots_ledger,
)
from feature_repo.files.duck import files_literal, literal, open_duckdb
from feature_repo.files.kept_snapshots import is_kept, keep_alone, keep_online, keep_snapshots, stamp, write_if_any
from feature_repo.ingest import key_for, key_mark, write_rows
from feature_repo.materialize import latest_snapshots, release_loads, write_online
from feature_repo.online.history import watermark
from feature_repo.online.refresh import Count, Load
from feature_repo.sources.changes import Changes, Comparison, entries
from feature_repo.sources.known_rows import (
    MadeOf,
    last_row,
    read_made_of,
    refuse_other_key,
    with_extract,
    write_made_of,
)
from feature_repo.sources.ledger import (
    REPLACES,
    Delivery,
    changing_ledger,
    digest,
    origins,
    read_ledger,
    write_entries,
    write_ledger,
)
from feature_repo.stores.registry import changing_features
from feature_repo.validate import Validated, accept, validate
from feature_repo.views.definitions import view_definition
from feature_repo.views.rows_at import rows_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from core.plan.plan import Plan
    from core.settings import Settings
    from feature_repo.online.table import OnlineTable
    from feature_repo.sources.ledger import Ledger

#: Standard errors by which the rejected share of new rows may exceed the plan's limit, since a small sample may by chance.
_TOLERATED_STANDARD_ERRORS = 4.0


@dataclass(frozen=True)
class CatchUpResult:
    """The counts of a catch-up.

    Attributes
    ----------
    sources : the validation of the new rows, by source.
    changes : how each source has changed since the last catch-up.
    views : rows of each view as of the instant.
    online_changes : rows of each view's online table that differ from before.

    """

    as_of: datetime
    sources: Mapping[str, Validated]
    views: Mapping[str, int]
    changes: Mapping[str, Changes] = field(default_factory=dict)
    online_changes: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return the result for JSON."""
        return {
            "as_of": None if self.as_of == WITHOUT_TIME else plain(self.as_of),
            "sources": {
                name: {
                    **vars(self.changes[name]),
                    "accepted": rows.accepted,
                    "rejected": rows.rejected - rows.duplicates,
                    "duplicates": rows.duplicates,
                    "mended": rows.mended,
                }
                for name, rows in self.sources.items()
            },
            "views": {name: {"rows": rows, "changed": self.online_changes[name]} for name, rows in self.views.items()},
        }

    def text(self) -> str:
        """Return a line for each source and view."""
        return "\n".join([*self._source_lines(), *self._view_lines()])

    def _source_lines(self) -> Iterator[str]:
        for name, rows in self.sources.items():
            changes = self.changes[name]
            counts = {
                "new rows accepted": rows.accepted,
                "rejected": rows.rejected - rows.duplicates,
                "duplicates of accepted rows": rows.duplicates,
                "with a value at fault, now missing": rows.mended,
                "late (their own times are before the last look)": 0 if self.as_of == WITHOUT_TIME else changes.late,
                "corrected": changes.corrected,
                "known before": changes.known,
                "no longer in the source, kept": changes.gone,
                "later than the instant, left for another time": changes.later,
                "without a row in the source of their time, left for another time": changes.unmatched,
            }
            always = {"new rows accepted", "rejected"}
            yield f"{name}: {', '.join(f'{count:,} {what}' for what, count in counts.items() if count or what in always)}"

    def _view_lines(self) -> Iterator[str]:
        for name, online in self.views.items():
            changed = self.online_changes[name]
            when = "" if self.as_of == WITHOUT_TIME else f" as of {self.as_of:%Y-%m-%d %H:%M}"
            yield f"{name}: {online:,} rows{when}, {changed:,} changed online"


def catch_up(settings: Settings, plan: Plan, data: Path, as_of: datetime) -> CatchUpResult:
    """Ingest the rows that were known by `as_of`, compute the views as of then, and write all of them online at once.

    Every row is ingested once, whatever its time, even if it arrives late or a run was killed. Concurrent catch-ups run one
    after another.

    Parameters
    ----------
    data : folder of the stages' tables; the stages must have run.
    as_of : without meaning for a plan whose label has no time.

    Raises
    ------
    StaleStateError
        If a stage has not run, or the views have changed since they were applied.
    SourceError
        If a source cannot be read.
    QualityError
        If more of a source's new rows are rejected than the plan allows.

    """
    as_of = as_of if plan.has_time else WITHOUT_TIME
    for name in plan.ingest:
        if not raw_file(data / "raw", name).exists():
            require(data / "accepted" / name, "validate")
    key = key_for(settings, plan.ingest.values())
    with changing_ledger(rows_ledger(data)):
        ingested = {
            name: _Source(plan, name, data, as_of).ingest(settings.state / "downloads", key) for name in plan.ingest
        }
        with changing_features(ensure_database(settings)):
            views, changed = _write_views_online(settings, plan, data, as_of)
    return CatchUpResult(
        as_of,
        {name: rows for name, (rows, _) in ingested.items()},
        views,
        {name: changes for name, (_, changes) in ingested.items()},
        changed,
    )


class _Source:
    """The catch-up of one source."""

    def __init__(self, plan: Plan, name: str, data: Path, as_of: datetime) -> None:
        self.name, self.as_of = name, as_of
        # `as_of` replaces the plan's end of the extract; later rows are left for a later catch-up.
        self.extract = plan.ingest[name]
        self.sources = plan.ingest
        self.source = self.extract.model_copy(update={"observed_until": as_of, "later_rows": "leave_out"})
        self.key, self.rules = plan.entities[self.source.entity].key, plan.validate_.get(name, QualityRules())
        self.raw, self.accepted = raw_file(data / "raw", name), data / "accepted" / name
        self.rejected_folder = data / "rejected"
        self.ledger_folder = rows_ledger(data) / name

    def ingest(self, downloads: Path, key: bytes | None) -> tuple[Validated, Changes]:
        """Ingest the rows that are not in the ledger; return their validation, and how the source has changed."""
        with private_folder(downloads / "catch-up") as scratch:
            present = raw_file(scratch / "present", self.name)
            write_rows(self.name, self.sources, present, downloads, key)
            before = self._with_extract(key)
            self._repair_accepted(before)
            delivery, changes = self._delivery(before, present, scratch)
            result = self._validate(before, delivery, scratch) if delivery else Validated(accepted=0, rejected=0)
            ledger = self._commit(before, delivery, result)
            if changes.corrected:
                self._rewrite_accepted(ledger)
            elif delivery:
                self._add_accepted(ledger, scratch)
        return result, changes

    def _with_extract(self, key: bytes | None) -> Ledger:
        """Return the ledger with the extract of the stage `ingest`; write the ledger if the extract was missing."""
        ledger = read_ledger(self.ledger_folder)
        mark = key_mark(self.source, key)
        refuse_other_key(self.name, ledger, self.raw, mark)
        complete = with_extract(ledger, self.name, self.extract, self.key, self.rules, self.raw, ledger.new_file())
        if complete is not ledger:
            complete = replace(complete, key_mark=mark)
            write_ledger(complete)
        return complete

    def _delivery(self, ledger: Ledger, present: Path, scratch: Path) -> tuple[Delivery | None, Changes]:
        """Write the rows in the file `present` that are not in the ledger as its next delivery, if there are any."""
        seen_until = max(filter(None, (self.extract.observed_until, ledger.as_of)))
        known_from = max(filter(None, (self.as_of, ledger.as_of)))
        comparison = Comparison(
            self.source.ingested(), self.key, self.rules, self.as_of, seen_until, leave_unmatched=True
        )
        columns = origins(self.source)
        with open_duckdb(spill=scratch) as connection:
            known, rows = ledger.open(connection, self.source), raw_rows(connection, present)
            changes = comparison.find(connection, known, rows)
            query = entries(known_from, rows, known, ledger.last_row, list(columns))
            file = write_entries(connection, query, ledger.new_file())
            if file is None:
                return None, changes
            return Delivery(file, None, columns, last_row(connection, ledger, file)), changes

    def _validate(self, ledger: Ledger, delivery: Delivery, scratch: Path) -> Validated:
        """Validate the rows of the next delivery into `scratch`; raise QualityError if too many are faulty."""
        file = require(ledger.new_file(), "validate")
        rejected = self.rejected_folder / f"{self.name}-{self._label(ledger.with_delivery(delivery))}.parquet"
        accepted = accepted_glob(self.accepted.parent, self.name)
        earlier = f"""(FROM read_parquet({literal(accepted)})
            ANTI JOIN (SELECT {REPLACES} AS source_row FROM read_parquet({files_literal(file)})) USING (source_row))"""
        # The limit is applied below with a tolerance, since few new rows may exceed any share by chance.
        rules = self.rules.model_copy(update={"max_rejected": 1.0})
        fresh = scratch / "accepted" / self.name
        result = validate(self.source.ingested(), self.key, rules, file, fresh, rejected, earlier=earlier)
        if not result.rejected:
            rejected.unlink()
        try:
            _refuse_too_many(self.name, result, self.rules, rejected)
        except QualityError:
            file.unlink()
            raise
        return result

    def _commit(self, before: Ledger, delivery: Delivery | None, result: Validated) -> Ledger:
        """Write the ledger with the next delivery, if there is any, and with the instant; return it."""
        ledger = replace(before, as_of=max(filter(None, (before.as_of, self.as_of))))
        if delivery:
            # `_validate` has applied the limit to the faulty rows.
            ledger = ledger.with_delivery(replace(delivery, excused=result.rejected + result.mended))
        if ledger != before:
            write_ledger(ledger)
        return ledger

    def _repair_accepted(self, ledger: Ledger) -> None:
        """Rewrite the accepted rows if a killed run or the stages left others than those of the ledger."""
        made_of, extract, deliveries = read_made_of(self.accepted), digest(self.raw), len(ledger.deliveries)
        expected = {MadeOf(extract, deliveries)}
        if ledger.deliveries[-1].extract == extract:
            expected.add(MadeOf(extract, deliveries - 1))
        if made_of not in expected:
            self._rewrite_accepted(ledger)

    def _rewrite_accepted(self, ledger: Ledger) -> None:
        """Write all accepted rows anew, as the stage `validate` does."""
        rejected = raw_file(self.rejected_folder, self.name)
        with whole_folder(self.accepted) as fresh:
            accept(self.name, self.extract, self.key, self.rules, ledger, self.raw, fresh, rejected)

    def _add_accepted(self, ledger: Ledger, scratch: Path) -> None:
        """Write the rows in `scratch`, those of the last delivery, to the accepted rows."""
        fresh = literal(files_of(scratch / "accepted" / self.name))
        with open_duckdb() as connection:
            write_if_any(connection, self.accepted / f"{self._label(ledger)}.parquet", f"FROM read_parquet({fresh})")
        write_made_of(self.accepted, MadeOf(digest(self.raw), len(ledger.deliveries)))

    def _label(self, ledger: Ledger) -> str:
        """Return the name of the last delivery."""
        return f"known-{stamp(self.as_of)}-{len(ledger.deliveries):06d}"


def _refuse_too_many(name: str, result: Validated, rules: QualityRules, rejected: Path) -> None:
    """Raise QualityError if more new rows are faulty than the limit allows; duplicates of accepted rows do not count."""
    rows, limit = result.accepted + result.rejected - result.duplicates, rules.max_rejected
    faulty = result.rejected - result.duplicates + result.mended
    if faulty > rows * limit + _TOLERATED_STANDARD_ERRORS * math.sqrt(rows * limit * (1 - limit)) + 1:
        raise QualityError(
            f"validate.{name}: {faulty:,} of {rows:,} new rows were rejected or mended, more than max_rejected "
            f"({limit:.2%}) allows even by chance; none was ingested, and the rejected rows are in {rejected}: correct the "
            "source or the rules, and run `panthera catch-up` again"
        )


def _write_views_online(
    settings: Settings, plan: Plan, data: Path, as_of: datetime
) -> tuple[dict[str, int], dict[str, int]]:
    """Compute all views as of an instant and write them online at once; return the rows and the changed rows, by view."""
    url, loads = ensure_database(settings), {}
    for name in plan.build_features.views:
        definition = view_definition(plan, name)
        features, kept = data / "features" / name, snapshots_ledger(data) / definition.table.name
        _keep_online(url, definition.table, features, kept)
        rows = rows_at(definition, data / "accepted", as_of)
        (keep_snapshots if plan.has_time else keep_alone)(kept, features, rows, as_of)
        loads[name] = Load(definition.table, rows)
    tables = {name: load.table for name, load in loads.items()}
    in_use = release_loads(url, plan, data / "accepted", as_of, lambda name, _: loads[name].rows)
    changed = write_online(url, tables, loads.values(), as_of, count=Count.CHANGED, kept=in_use)
    return {name: len(load.rows) for name, load in loads.items()}, changed


def _keep_online(url: str, table: OnlineTable, features: Path, kept: Path) -> None:
    """Write the snapshots of the last run to `kept`: the stages may compute others for the same instants later."""
    with connect(url) as connection:
        mark = watermark(connection, table.name)
    if mark is not None and not is_kept(kept, mark) and any(features.glob("*.parquet")):
        with latest_snapshots(snapshot_glob(features.parent, features.name), table, mark) as rows:
            keep_online(kept, rows, mark)
