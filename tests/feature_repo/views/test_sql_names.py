"""Which columns an SQL expression may name."""

from __future__ import annotations

import pytest

from feature_repo.views.sql_names import named


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("sum(amount)", True),
        ("sum(AMOUNT)", True),
        ('max("amount")', True),
        ("count(*)", False),
        ("sum(amounts)", False),
        ("max(other) * 2", False),
        ("count( * ) FILTER (kind = 'x')", False),
        ("max(COLUMNS(*))", True),
        ("first(struct_pack(*))", True),
    ],
)
def test_a_column_is_read_if_the_sql_may_speak_of_it(sql: str, expected: bool) -> None:
    assert named(["amount", "place"], sql) == (
        ["amount", "place"] if "*)" in sql and expected else ["amount"] * expected
    )
