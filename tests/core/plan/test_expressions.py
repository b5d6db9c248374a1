"""What SQL leaves open has one value in a plan."""

from __future__ import annotations

import duckdb
import pytest

from core.plan.rows.expressions import with_smallest_values
from core.plan.training_set import Label


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        ("any_value(y)", "min(y)"),
        ("ANY_VALUE (y) FILTER (y > 1)", "min (y) FILTER (y > 1)"),
        ("arbitrary(lower(y)) = 'any_value(y)'", "min(lower(y)) = 'any_value(y)'"),
        ("any_value(y) - any_value(any_value)", "min(y) - min(any_value)"),
        ("coalesce(any_value((y + 1) * 2), 0)", "coalesce(min((y + 1) * 2), 0)"),
        ("any_value(y ORDER BY t) + any_value(y)", "any_value(y ORDER BY t) + min(y)"),
        ("any_value((SELECT max(z) FROM r ORDER BY 1))", "min((SELECT max(z) FROM r ORDER BY 1))"),
        (
            'count("any_value(") /* any_value(y) */ -- any_value(y)',
            'count("any_value(") /* any_value(y) */ -- any_value(y)',
        ),
        ("many_value(y)", "many_value(y)"),
        ("any_value(y", "any_value(y"),
    ],
)
def test_any_value_without_an_order_is_the_smallest(stated: str, read: str) -> None:
    assert with_smallest_values(stated) == read


def test_a_label_has_it_in_whatever_order_rows_lie() -> None:
    label = Label.model_validate({"horizon": "30d", "value": "any_value(y)"})
    with duckdb.connect() as connection:
        for rows in ("(NULL), (3), (1)", "(1), (NULL), (3)"):
            assert connection.execute(f"SELECT {label.value} FROM (VALUES {rows}) AS t (y)").fetchall() == [(1,)]
