"""Counting the log in PostgreSQL: bin by bin what NumPy counts, and nothing that another window or release served."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import pyarrow as pa

from core.reference import BinCounts, build_reference
from monitoring.served_counts import fetch_served_counts
from tests.monitoring.log_rows import NOON, log_prediction

if TYPE_CHECKING:
    import psycopg

TRAINING = pa.table(
    {
        "v__spend": pa.array([float(number) for number in range(1, 101)]),
        "v__silent": pa.array([0] * 95 + [7] * 5),
        "v__channel": pa.array(["web"] * 60 + ["shop"] * 40),
        "v__member": pa.array([True] * 50 + [False] * 50),
        "v__joined": pa.array([datetime(1970, 1, 1, 0, 1, second % 60, tzinfo=UTC) for second in range(100)]),
        "v__empty": pa.array([None] * 100, type=pa.float64()),
        "score": pa.array([number / 100 for number in range(100)]),
    }
)
REFERENCE = build_reference(TRAINING)


def counted(connection: psycopg.Connection) -> dict[str, BinCounts]:
    return fetch_served_counts(connection, "r1", REFERENCE, None, None)


def test_the_training_rows_served_again_give_the_reference_counts(connection: psycopg.Connection) -> None:
    for number, row in enumerate(TRAINING.to_pylist()):
        score = row.pop("score")
        row["v__joined"] = row["v__joined"].isoformat()
        log_prediction(connection, number, row, score=score)
    found = counted(connection)
    assert found == {column.name: column.counts for column in REFERENCE.columns}


def test_null_and_absent_are_missing_and_another_type_is_other(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {"v__spend": None, "v__channel": None, "v__member": None})
    log_prediction(connection, 2, {"v__spend": "12", "v__channel": 3, "v__joined": 5, "v__silent": True})
    found = counted(connection)
    assert (found["v__spend"].missing, found["v__spend"].other) == (1, 1)
    assert (found["v__channel"].missing, found["v__channel"].other) == (1, 1)
    assert (found["v__joined"].missing, found["v__joined"].other) == (1, 1)
    assert (found["v__silent"].missing, found["v__silent"].other) == (1, 1)
    assert (found["v__member"].missing, found["v__member"].other) == (2, 0)


def test_a_level_that_training_did_not_know_is_other(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {"v__channel": "kiosk"})
    log_prediction(connection, 2, {"v__channel": "shop"})
    assert counted(connection)["v__channel"] == BinCounts((0, 1), other=1, missing=0)


def test_a_value_on_an_edge_is_in_the_bin_above(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {"v__spend": 10, "v__silent": 0})
    log_prediction(connection, 2, {"v__spend": math.nextafter(10, 0), "v__silent": 1})
    found = counted(connection)
    assert found["v__spend"].regular[:2] == (1, 1)
    assert found["v__silent"].regular == (0, 1, 1)


def test_a_value_where_training_had_none_is_counted(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {"v__empty": 3.5})
    assert counted(connection)["v__empty"] == BinCounts((1,), other=0, missing=0)


def test_a_score_that_is_not_a_number_is_missing(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {}, score=math.nan)
    assert counted(connection)["score"].missing == 1


def test_only_the_release_and_the_window_after_start_up_to_end_count(connection: psycopg.Connection) -> None:
    for number, hours in enumerate((-1, 0, 1, 2)):
        log_prediction(connection, number, {"v__spend": 5}, as_of=NOON + timedelta(hours=hours))
    log_prediction(connection, 9, {"v__spend": 5}, release_id="r2", as_of=NOON + timedelta(hours=1))
    window = fetch_served_counts(connection, "r1", REFERENCE, NOON, NOON + timedelta(hours=1))
    assert window["v__spend"].rows == 1
    assert counted(connection)["v__spend"].rows == 4


def test_an_empty_log_gives_empty_bins(connection: psycopg.Connection) -> None:
    assert all(counts.rows == 0 for counts in counted(connection).values())


def test_names_and_levels_with_quotes_and_braces_are_only_text(connection: psycopg.Connection) -> None:
    reference = build_reference(pa.table({"v__100%'{odd}\"": ["it's {x}", 'a "b"', "back\\slash", "%s"]}))
    for number, level in enumerate(reference.columns[0].levels):
        log_prediction(connection, number, {reference.columns[0].name: level})
    assert fetch_served_counts(connection, "r1", reference, None, None) == {
        reference.columns[0].name: reference.columns[0].counts
    }


def test_a_second_count_reads_no_vector_whose_hour_has_the_same_predictions(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {"v__spend": 5})
    log_prediction(connection, 2, {"v__spend": 5}, as_of=NOON + timedelta(hours=1))
    first = counted(connection)
    connection.execute("UPDATE panthera.prediction SET features = '{}'")  # as nothing in the product does
    assert counted(connection) == first
    log_prediction(connection, 3, {"v__spend": 200}, as_of=NOON + timedelta(hours=1))
    assert (counted(connection)["v__spend"].missing, counted(connection)["v__spend"].regular[-1]) == (1, 1)


def test_a_window_within_an_hour_counts_its_part_of_it(connection: psycopg.Connection) -> None:
    for number, minutes in enumerate((-50, -30, -10)):
        log_prediction(connection, number, {"v__spend": 5}, as_of=NOON + timedelta(minutes=minutes))
    assert counted(connection)["v__spend"].rows == 3
    ends = [NOON - timedelta(minutes=minutes) for minutes in (60, 40, 20, 0)]
    windows = [fetch_served_counts(connection, "r1", REFERENCE, *pair) for pair in pairwise(ends)]
    assert [counts["v__spend"].rows for counts in windows] == [1, 1, 1]
    assert counted(connection)["v__spend"].rows == 3


def test_a_prediction_that_leaves_the_log_is_not_counted(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {"v__spend": 5})
    log_prediction(connection, 2, {"v__spend": 200})
    assert counted(connection)["v__spend"].rows == 2
    connection.execute("DELETE FROM panthera.prediction WHERE prediction_id = %s", [UUID(int=2)])
    log_prediction(connection, 3, {"v__spend": None})
    found = counted(connection)["v__spend"]
    assert (found.rows, found.missing, found.regular[-1]) == (2, 1, 0)


def test_a_release_with_other_bins_is_counted_in_its_own(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {"v__spend": 5})
    counted(connection)
    others = build_reference(pa.table({"v__spend": [3.0, 9.0]}))
    assert fetch_served_counts(connection, "r1", others, None, None)["v__spend"].regular == (0, 0, 1, 0, 0)


def test_who_may_only_read_gets_the_same_counts(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {"v__spend": 5})
    connection.execute("SET LOCAL ROLE panthera_reader")
    assert counted(connection)["v__spend"].rows == 1
    connection.execute("RESET ROLE")
    assert connection.execute("SELECT count(*) FROM panthera.served_count").fetchone() == (0,)


def test_names_that_postgresql_would_cut_are_read(connection: psycopg.Connection) -> None:
    names = [f"v__{'x' * 70}{ending}" for ending in "ab"]
    reference = build_reference(pa.table({names[0]: [1.0, 2.0], names[1]: ["p", "q"]}))
    log_prediction(connection, 1, {names[0]: 1.5, names[1]: "q"})
    found = fetch_served_counts(connection, "r1", reference, None, None)
    assert [found[name].regular for name in names] == [(0, 0, 1, 0, 0), (0, 1)]


def test_random_floats_fall_where_numpy_puts_them(connection: psycopg.Connection) -> None:
    random = np.random.default_rng(3)
    reference = build_reference(pa.table({"v__x": random.standard_cauchy(500)}))
    served = random.standard_cauchy(300)
    for number, value in enumerate(served):
        log_prediction(connection, number, {"v__x": float(value)})
    edges = np.asarray(reference.columns[0].edges)
    expected = np.bincount(np.searchsorted(edges, served, side="right"), minlength=edges.size + 1)
    assert fetch_served_counts(connection, "r1", reference, None, None)["v__x"].regular == tuple(expected)
