"""Which columns of its sources a view reads."""

from __future__ import annotations

import pytest

from feature_repo.view_sources import is_named


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
    assert is_named("amount", sql) is expected
