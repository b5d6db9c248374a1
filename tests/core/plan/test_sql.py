from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from core.plan.file import read_plan
from core.plan.sql import BARE_WORDS, expression_faults, query_faults
from tests.core.plan.shop_plan import FEATURES, faults

ROOT = Path(__file__).parents[3]
COLUMNS = ("buyer_id", "day", "price", "shop")

OF_THE_CLOCK = [
    "date_diff('day', max(event_time), now())",
    "date_diff('day', max(event_time), current_date)",
    'max("Now"())',
    "max(CURRENT_TIMESTAMP)",
    "sum(price) FILTER (event_time > localtimestamp - INTERVAL 1 DAY)",
    "(SELECT max(event_time) - today() FROM rows_of_orders)",
    "max(age(event_time))",
    "count(*) FILTER (event_time > ago(INTERVAL 1 DAY))",
    "max(CASE WHEN price > 1 THEN get_current_timestamp() END)",
    "list_transform([1], lambda x: x + year(today()))[1]",
    "max(price ORDER BY transaction_timestamp())",
]
BY_CHANCE = [
    "max(random())",
    "max(uuid())",
    "max(gen_random_uuid()::VARCHAR)",
    "setseed(0.5)",
    "nextval('numbers')",
    "getvariable('x')",
    "(SELECT max(price) FROM rows_of_orders TABLESAMPLE 10%)",
    "(SELECT max(price) FROM rows_of_orders USING SAMPLE 3)",
]
FROM_OUTSIDE = [
    "(SELECT count(*) FROM read_csv('prices.csv'))",
    "(SELECT count(*) FROM 'prices.parquet')",
    "(SELECT count(*) FROM query('SELECT now()'))",
    "(SELECT count(*) FROM duckdb_settings())",
    "(SELECT count(*) FROM (SHOW TABLES))",
    "(SELECT count(*) FROM information_schema.tables)",
    "(SELECT count(*) FROM frame)",
    "getenv('HOME')",
    "version()",
]
BY_THE_ORDER_OF_ROWS = [
    "last(shop)",
    "first(shop)",
    "string_agg(shop, ',')",
    "list(price)[1]",
    "reservoir_quantile(price, 0.5)",
    "(SELECT max(n) FROM (SELECT row_number() OVER () AS n FROM rows_of_orders))",
]
SOUND = [
    "count(*) FILTER (shop LIKE 'a%' AND price BETWEEN 1 AND 2)",
    "(epoch(as_of) - epoch(max(event_time))) / 86400",
    "age(as_of, max(event_time))",
    "last(shop ORDER BY event_time)",
    "any_value('constant')",
    "any_value(shop ORDER BY event_time)",
    "coalesce(sum(ln(price / nullif(price, 0))) FILTER (WHERE shop IS NOT NULL), 0)",
    "extract(year FROM as_of)::INTEGER",
    "CASE WHEN arg_max(shop, event_time) IN ('a', 'b') THEN {'a': 1}.a ELSE [1, 2][1] END",
    "(WITH early AS (SELECT * FROM rows_of_orders) SELECT max(price) FROM early)",
    "(SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY price) AS n FROM rows_of_orders))",
    "(SELECT sum(u) FROM unnest([1, 2]) AS t (u))",
    "cos(2 * pi() * month(as_of) / 12)",
    "count(*) -- purchases",
]


def told(sql: str, *columns: str) -> str:
    return "\n".join(expression_faults([(sql, columns or COLUMNS)])[0])


@pytest.mark.parametrize("sql", OF_THE_CLOCK)
def test_sql_that_reads_the_clock_is_refused(sql: str) -> None:
    assert "reads the clock" in told(sql)
    assert "as_of" in told(sql)


@pytest.mark.parametrize("sql", BY_CHANCE)
def test_sql_that_draws_at_random_or_keeps_a_state_is_refused(sql: str) -> None:
    assert "returns another value on every run" in told(sql)
    assert "as_of" in told(sql)


@pytest.mark.parametrize("sql", FROM_OUTSIDE)
def test_sql_that_reads_anything_but_the_rows_is_refused(sql: str) -> None:
    assert "as_of" in told(sql)


@pytest.mark.parametrize("sql", BY_THE_ORDER_OF_ROWS)
def test_sql_whose_result_depends_on_the_order_of_rows_is_refused(sql: str) -> None:
    assert "depends on the order in which rows are read" in told(sql)


@pytest.mark.parametrize("sql", SOUND)
def test_sql_of_its_rows_and_as_of_is_sound(sql: str) -> None:
    assert told(sql) == ""


@pytest.mark.parametrize(
    "sql", ["max(price", "count(*), now()", "count(*)) FROM rows_of_orders; SELECT (now()", "1; 2"]
)
def test_what_is_not_one_expression_is_refused(sql: str) -> None:
    assert told(sql) != ""


def test_a_column_may_have_the_name_of_a_word_that_reads_the_clock() -> None:
    assert told("max(current_date)", "current_date") == ""
    assert "reads the clock" in told("max(current_date())", "current_date")


def test_every_word_that_duckdb_evaluates_without_parentheses_is_known() -> None:
    connection = duckdb.connect()
    names = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('scalar', 'macro') "
        "UNION SELECT keyword_name FROM duckdb_keywords()"
    ).fetchall()
    assert {name for (name,) in names if _is_evaluated(connection, name)} <= {
        *BARE_WORDS,
        "default",
        "false",
        "null",
        "true",
    }


def _is_evaluated(connection: duckdb.DuckDBPyConnection, word: str) -> bool:
    try:
        connection.execute(f"SELECT {word}")
    except duckdb.Error:
        return False
    return True


@pytest.mark.parametrize("plan", ["params.yaml", "tests/e2e/gym.yaml", "worlds/subscription/plan.yaml"])
def test_the_plans_of_this_project_are_sound(plan: str) -> None:
    read_plan(ROOT / plan)


def test_the_plan_names_every_place_of_such_sql() -> None:
    found = faults(
        {
            f"{FEATURES}/orders/sql": "date_diff('day', max(day), today())",
            f"{FEATURES}/half/sql": "orders * random()",
            "label/population": "max(day) < current_date",
            "label/value": "last(price) > 1",
            "ingest/orders/reader": {
                "kind": "sql",
                "query": "SELECT * FROM orders WHERE day > now() - interval '1 day'",
            },
        }
    )
    assert [line.split(" ")[1] for line in found] == [
        "today()",
        "random()",
        "current_date",
        "last()",
        "now()",
    ]
    assert [line.partition(":")[0] for line in found] == [
        "build_features.views.history.features.orders.sql",
        "build_features.views.history.features.half.sql",
        "label.population",
        "label.value",
        "ingest.orders.reader.query",
    ]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT * FROM orders WHERE day > CURRENT_DATE - 30", "current_date reads the clock"),
        ("SELECT 'now'::timestamptz AS day", "'now' reads the clock"),
        ("SELECT age(day) FROM orders", "age() reads the clock"),
        ("SELECT * FROM orders ORDER BY random() LIMIT 9;", "random() returns other rows"),
        ("SELECT * FROM orders TABLESAMPLE system (5)", "TABLESAMPLE returns other rows"),
    ],
)
def test_the_query_of_a_reader_reads_no_clock_and_draws_nothing(query: str, reason: str) -> None:
    assert reason in "\n".join(query_faults(query))


@pytest.mark.parametrize(
    "query", ["SELECT id, 'now' AS word FROM orders;", "SELECT age(a, b) FROM orders -- all", "TABLE x"]
)
def test_other_queries_of_a_reader_are_left_to_its_server(query: str) -> None:
    assert query_faults(query) == []
