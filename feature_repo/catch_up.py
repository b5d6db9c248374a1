"""Catch up with sources that grow: take in what they hold now, and bring the features of an instant online.

The stages make everything anew from the sources up to the plan's instants; this goes on from there, day by day, between two
runs of them. What it takes in stands in the ledger of the source, which the stage `validate` reads too, so the accepted rows
are the same whichever of both made them.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import duckdb

from core.errors import QualityError, SourceError
from core.files import private_folder, require, whole_folder
from core.plan.ingest import QualityRules
from core.postgres.database import connect, ensure_database
from feature_repo.files.datasets import (
    accepted_glob,
    files_of,
    raw_file,
    rows_ledger,
    snapshot_glob,
    snapshots_ledger,
    write_table,
)
from feature_repo.files.duck import files_literal, literal, open_duckdb
from feature_repo.files.kept_snapshots import is_kept, keep, keep_online, stamp, write_beside
from feature_repo.ingest import key_for, key_mark, numbered_rows
from feature_repo.materialize import bring_online, kept_loads, latest_snapshots
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
from feature_repo.sources.plain_text import scratch_folder
from feature_repo.sources.readers import without_rows
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
    from feature_repo.online.tables import OnlineTable
    from feature_repo.sources.ledger import Ledger

#: Standard errors by which the rejected share of new rows may exceed the plan's limit: few rows exceed it by chance.
_TOLERATED = 4.0


@dataclass(frozen=True)
class CaughtUp:
    """What was taken in and brought online.

    Attributes
    ----------
    sources : what became of the rows that were taken in, by source.
    changes : what a source had become since it was looked through last.
    views : rows of each view as of the instant.
    online_changes : rows of each view's online table that are other ones now.

    """

    as_of: datetime
    sources: Mapping[str, Validated]
    views: Mapping[str, int]
    changes: Mapping[str, Changes] = field(default_factory=dict)
    online_changes: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return what JSON can hold."""
        return {
            "as_of": self.as_of.isoformat(),
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
                "late (their own times are before the last look)": changes.late,
                "corrected": changes.corrected,
                "known before": changes.known,
                "no longer in the source, kept": changes.gone,
                "later than the instant, left for another time": changes.later,
            }
            always = {"new rows accepted", "rejected"}
            yield f"{name}: {', '.join(f'{count:,} {what}' for what, count in counts.items() if count or what in always)}"

    def _view_lines(self) -> Iterator[str]:
        for name, online in self.views.items():
            changed = self.online_changes[name]
            yield f"{name}: {online:,} rows as of {self.as_of:%Y-%m-%d %H:%M}, {changed:,} changed online"


def catch_up(settings: Settings, plan: Plan, data: Path, as_of: datetime) -> CaughtUp:
    """Take in all that the sources hold and that was known by `as_of`, compute the views as of then, bring them online as one.

    A row is taken in once, whatever its time: also one that comes late, and one that a killed run had taken in. Two of these
    at once run one after the other.

    Parameters
    ----------
    data : folder of the stages' tables, which have run.

    Raises
    ------
    StaleStateError
        If a stage has not run, or the views were applied in another version.
    SourceError, QualityError
        If a source cannot be read, or more of its new rows are rejected than the plan allows.

    """
    for name in plan.ingest:
        if not raw_file(data / "raw", name).exists():
            require(data / "accepted" / name, "validate")
    key = key_for(settings, plan.ingest.values())
    with changing_ledger(rows_ledger(data)):
        taken = {
            name: _Source(plan, name, data, as_of).take_in(settings.state / "downloads", key) for name in plan.ingest
        }
        with changing_features(ensure_database(settings)):
            views, changed = _bring_views_online(settings, plan, data, as_of)
    return CaughtUp(
        as_of,
        {name: rows for name, (rows, _) in taken.items()},
        views,
        {name: changes for name, (_, changes) in taken.items()},
        changed,
    )


class _Source:
    """A source that is caught up with."""

    def __init__(self, plan: Plan, name: str, data: Path, as_of: datetime) -> None:
        self.name, self.as_of = name, as_of
        # The plan's end of the extract is passed; what is later than `as_of` is left for its own day.
        self.extract = plan.ingest[name]
        self.source = self.extract.model_copy(update={"observed_until": as_of, "later_rows": "leave_out"})
        self.key, self.rules = plan.entities[self.source.entity].key, plan.validate_.get(name, QualityRules())
        self.raw, self.accepted = raw_file(data / "raw", name), data / "accepted" / name
        self.rejected_folder = data / "rejected"
        self.ledger_folder = rows_ledger(data) / name

    def take_in(self, downloads: Path, key: bytes | None) -> tuple[Validated, Changes]:
        """Take in the rows that are not in the ledger; return what became of them, and what the source had become."""
        with private_folder(downloads / "catch-up") as scratch:
            present = raw_file(scratch / "present", self.name)
            self._read(present, downloads, key)
            before = self._with_extract(key)
            self._mend_accepted(before)
            delivery, changes = self._delivery(before, present, scratch)
            result = self._judge(before, delivery, scratch) if delivery else Validated(accepted=0, rejected=0)
            ledger = self._commit(before, delivery, result)
            if changes.corrected:
                self._make_accepted(ledger)
            elif delivery:
                self._add_accepted(ledger, scratch)
        return result, changes

    def _read(self, out: Path, downloads: Path, key: bytes | None) -> None:
        """Write all rows that the source holds now to the file `out`."""
        try:
            with open_duckdb() as connection:
                write_table(connection, numbered_rows(connection, self.name, self.source, downloads, key), out)
        except duckdb.Error as error:
            raise SourceError(f"ingest.{self.name}: the source cannot be read: {without_rows(error)}") from None
        finally:
            shutil.rmtree(scratch_folder(downloads), ignore_errors=True)

    def _with_extract(self, key: bytes | None) -> Ledger:
        """Return the ledger with the extract of the stage `ingest` in it, which is written if it was not."""
        ledger = read_ledger(self.ledger_folder)
        mark = key_mark(self.source, key)
        refuse_other_key(self.name, ledger, self.raw, mark)
        whole = with_extract(ledger, self.name, self.extract, self.key, self.rules, self.raw, ledger.new_file())
        if whole is not ledger:
            whole = replace(whole, key_mark=mark)
            write_ledger(whole)
        return whole

    def _delivery(self, ledger: Ledger, present: Path, scratch: Path) -> tuple[Delivery | None, Changes]:
        """Write what the source, in the file `present`, holds beyond the ledger as its next delivery, if there is any."""
        seen_until = max(filter(None, (self.extract.observed_until, ledger.as_of)))
        known_from = max(filter(None, (self.as_of, ledger.as_of)))
        comparison = Comparison(self.source.ingested(), self.key, self.rules, self.as_of, seen_until)
        columns = origins(self.source)
        with open_duckdb(spill=scratch) as connection:
            known, rows = ledger.open(connection, self.source), f"read_parquet({files_literal(present)})"
            changes = comparison.find(connection, known, rows)
            query = entries(known_from, rows, known, ledger.last_row, list(columns))
            file = write_entries(connection, query, ledger.new_file())
            if file is None:
                return None, changes
            return Delivery(file, None, columns, last_row(connection, ledger, file)), changes

    def _judge(self, ledger: Ledger, delivery: Delivery, scratch: Path) -> Validated:
        """Validate the rows of the next delivery into `scratch`; refuse them all if too many are at fault."""
        file = require(ledger.new_file(), "validate")
        rejected = self.rejected_folder / f"{self.name}-{self._label(ledger.with_delivery(delivery))}.parquet"
        accepted = accepted_glob(self.accepted.parent, self.name)
        earlier = f"""(FROM read_parquet({literal(accepted)})
            ANTI JOIN (SELECT {REPLACES} AS source_row FROM read_parquet({files_literal(file)})) USING (source_row))"""
        # Judged below, since a few new rows exceed any share by chance.
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
            # The limit was held against the faulty rows just now.
            ledger = ledger.with_delivery(replace(delivery, excused=result.rejected + result.mended))
        if ledger != before:
            write_ledger(ledger)
        return ledger

    def _mend_accepted(self, ledger: Ledger) -> None:
        """Make the accepted rows anew if they are not those of the ledger: a killed run, or the stages, left others."""
        made_of, extract, deliveries = read_made_of(self.accepted), digest(self.raw), len(ledger.deliveries)
        alike = {MadeOf(extract, deliveries)}
        if ledger.deliveries[-1].extract == extract:
            alike.add(MadeOf(extract, deliveries - 1))
        if made_of not in alike:
            self._make_accepted(ledger)

    def _make_accepted(self, ledger: Ledger) -> None:
        """Make the accepted rows anew, as the stage `validate` does."""
        rejected = raw_file(self.rejected_folder, self.name)
        with whole_folder(self.accepted) as fresh:
            accept(self.name, self.extract, self.key, self.rules, ledger, self.raw, fresh, rejected)

    def _add_accepted(self, ledger: Ledger, scratch: Path) -> None:
        """Add the rows in `scratch`, the last delivery's, to the accepted ones."""
        fresh = literal(files_of(scratch / "accepted" / self.name))
        with open_duckdb() as connection:
            write_beside(connection, self.accepted / f"{self._label(ledger)}.parquet", f"FROM read_parquet({fresh})")
        write_made_of(self.accepted, MadeOf(digest(self.raw), len(ledger.deliveries)))

    def _label(self, ledger: Ledger) -> str:
        """Return the name of the last delivery."""
        return f"known-{stamp(self.as_of)}-{len(ledger.deliveries):06d}"


def _refuse_too_many(name: str, result: Validated, rules: QualityRules, rejected: Path) -> None:
    """Refuse new rows if more of them are at fault than the limit allows; duplicates of accepted rows are not counted."""
    rows, limit = result.accepted + result.rejected - result.duplicates, rules.max_rejected
    faulty = result.rejected - result.duplicates + result.mended
    if faulty > rows * limit + _TOLERATED * math.sqrt(rows * limit * (1 - limit)) + 1:
        raise QualityError(
            f"validate.{name}: {faulty:,} of {rows:,} new rows were rejected or mended, more than max_rejected "
            f"({limit:.2%}) allows even by chance; none was taken in, all of the rejected are in {rejected}: correct the "
            "source or the rules, and catch up again"
        )


def _bring_views_online(
    settings: Settings, plan: Plan, data: Path, as_of: datetime
) -> tuple[dict[str, int], dict[str, int]]:
    """Compute all views as of an instant and bring them online as one; return the rows, and the changed ones, by view."""
    url, loads = ensure_database(settings), {}
    for name in plan.build_features.views:
        definition = view_definition(plan, name)
        features, kept = data / "features" / name, snapshots_ledger(data) / definition.table.name
        _keep_online(url, definition.table, features, kept)
        rows = rows_at(definition, data / "accepted", as_of)
        keep(kept, features, rows, as_of)
        loads[name] = Load(definition.table, rows)
    tables = {name: load.table for name, load in loads.items()}
    in_use = kept_loads(url, plan, data / "accepted", as_of, lambda name, _: loads[name].rows)
    changed = bring_online(url, tables, loads.values(), as_of, count=Count.CHANGED, kept=in_use)
    return {name: len(load.rows) for name, load in loads.items()}, changed


def _keep_online(url: str, table: OnlineTable, features: Path, kept: Path) -> None:
    """Keep the snapshots that the last run brought online: the stages may compute others for the same instants later."""
    with connect(url) as connection:
        mark = watermark(connection, table.name)
    if mark is not None and not is_kept(kept, mark) and any(features.glob("*.parquet")):
        with latest_snapshots(snapshot_glob(features.parent, features.name), table, mark) as rows:
            keep_online(kept, rows, mark)
