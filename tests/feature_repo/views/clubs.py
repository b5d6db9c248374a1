"""A world of four members of two clubs, small enough to work out by hand: a club is reached by what a member's view says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from core.plan.file import parse_plan
from tests.feature_repo.accepted_rows import write_accepted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from core.plan.plan import Plan

TEXT = """
project: {name: clubs, problem: binary, statement: "Who stays away?"}
entities:
  member: {key: member_id, dtype: int64, source: moves}
  club: {key: club_name, dtype: string, of: membership.club}
ingest:
  moves:
    reader: {kind: csv, path: moves.csv}
    entity: member
    event_time: &time {column: day}
    created_time: &known {column: told}
    observed_until: &cut "2024-02-01"
    columns:
      member_id: &id {dtype: int64}
      day: &day {dtype: timestamp}
      told: &told {dtype: timestamp}
      club: {dtype: string}
  visits:
    reader: {kind: csv, path: visits.csv}
    entity: member
    event_time: *time
    created_time: *known
    observed_until: *cut
    columns: {member_id: *id, day: *day, told: *told, minutes: {dtype: float64, unit: minutes}}
  purchases:
    reader: {kind: csv, path: purchases.csv}
    entity: member
    event_time: *time
    created_time: *known
    observed_until: *cut
    columns: {member_id: *id, day: *day, told: *told, club_name: &club {dtype: string}, paid: {dtype: float64, unit: EUR}}
label: {source: visits, horizon: 2d, population: "true", value: count(*) = 0}
build_features:
  snapshots: {start: "2024-01-02", end: "2024-01-14"}
  views:
    # The club stands before the membership, which holds the link, as it may in a plan.
    club:
      source: visits
      entity: club
      ttl: 4d
      every: 2 days
      features:
        minutes: {sql: sum(minutes), dtype: float64, unit: minutes}
        visitors_4d: {sql: count(DISTINCT member_id), window: 4d, dtype: int64, meaning: members who came}
        paid: {source: purchases, sql: "coalesce(sum(paid), 0)", dtype: float64, unit: EUR}
        paid_a_minute: {over: features, sql: paid / minutes, dtype: float64, unit: EUR a minute}
    membership:
      source: moves
      ttl: 4d
      every: 2 days
      features:
        moves: {sql: count(*), dtype: int64, meaning: clubs so far}
        club: {sql: "arg_max(club, event_time)", dtype: string, meaning: club now}
  services:
    both: [membership.moves, club.*]
training_set:
  service: both
  as_of: {start: "2024-01-02", end: "2024-01-14", every: 2 days}
  split: {kind: temporal, validation_from: "2024-01-06", test_from: "2024-01-10", gap: 2d}
train: {seed: 1, candidates: {majority: {estimator: majority}, rule: {estimator: single_feature, feature: club.minutes}}}
evaluate: {primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}, baseline: rule}
register: {model: clubs}
materialize: {as_of: "2024-01-12"}
serve:
  missing: answer_and_flag
  stale: answer_and_flag
  experiment: first
  salt: pepper
  arms: {champion: 1}
  decisions: {above: call, below: wait}
monitor: {psi_alarm: 0.1, parity_sample: 1}
"""
#: (member, day, day it became known, value). Member 1 moves on the 10th, the club of member 2 becomes known on the 4th.
ROWS: Mapping[str, Sequence[tuple[int, int, int, Any]]] = {
    "moves": [(1, 1, 1, "red"), (1, 10, 10, "blue"), (2, 2, 4, "red"), (3, 3, 3, "blue"), (4, 3, 3, None)],
    "visits": [
        (1, 2, 2, 10.0),  # red
        (2, 3, 3, 5.0),  # nowhere: nobody knew on the 3rd which club member 2 is in
        (2, 5, 5, 7.0),  # red
        (3, 4, 12, 40.0),  # blue, known on the 12th
        (1, 11, 11, 20.0),  # blue, for member 1 has moved
        (4, 5, 5, 80.0),  # nowhere
        (9, 5, 5, 160.0),  # nowhere: member 9 never moved into a club
    ],
    "purchases": [
        (1, 3, 3, ("green", 1.0)),
        (1, 11, 11, ("red", 2.0)),
        (3, 5, 5, ("blue", 4.0)),
        (3, 6, 6, (None, 8.0)),
    ],
}
VALUES = {"moves": ("club",), "visits": ("minutes",), "purchases": ("club_name", "paid")}
#: What the view of the clubs is at some instants: minutes, visitors_4d, paid, paid_a_minute.
CLUBS = {
    (2, "red"): (10.0, 1, 0.0, 0.0),
    (4, "red"): (10.0, 1, 0.0, 0.0),
    (6, "red"): (17.0, 1, 0.0, 0.0),
    (8, "red"): (17.0, 1, 0.0, 0.0),
    (10, "red"): (17.0, 0, 0.0, 0.0),
    (12, "red"): (17.0, 0, 2.0, 2 / 17),
    (14, "red"): (17.0, 0, 2.0, 2 / 17),
    (12, "blue"): (60.0, 1, 4.0, 4 / 60),
    (14, "blue"): (60.0, 1, 4.0, 4 / 60),
}


def day(number: float) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number - 1)


def clubs_plan() -> Plan:
    return parse_plan(TEXT)


def accept(folder: Path) -> Path:
    """Write the accepted rows of the world below `folder`, by the buckets of the members; return where."""
    for source, rows in ROWS.items():
        members, happened, known, values = zip(*rows, strict=True)
        named = zip(*(value if isinstance(value, tuple) else (value,) for value in values), strict=True)
        table = pa.table(
            {
                "source_row": range(len(rows)),
                "member_id": pa.array(members, pa.int64()),
                **dict(zip(VALUES[source], named, strict=True)),
                "event_timestamp": pa.array(map(day, happened), pa.timestamp("us", tz="UTC")),
                "created_timestamp": pa.array(map(day, known), pa.timestamp("us", tz="UTC")),
            }
        )
        write_accepted(folder / "accepted", source, "member_id", table)
    return folder / "accepted"
