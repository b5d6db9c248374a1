"""Check that the SQL of a plan is deterministic: the same rows and the same `as_of` give the same result on every run.

DuckDB parses the SQL, and its catalogue lists the functions. A function is allowed if the catalogue marks it as consistent.
A function that reads the clock, draws random numbers, keeps state or is unknown is refused before anything runs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import duckdb

    from core.plan.plan import Plan

Finding = tuple[str, str]
Node = dict[str, Any]

_ALONE = "SQL is computed from its rows and as_of alone"
_CLOCK = f"reads the clock, so that a snapshot of the past would hold a value of today; write as_of instead: {_ALONE}"
_RANDOM = f"returns another value on every run; {_ALONE}"
_CLOCK_IN_QUERY = "reads the clock; write the instant, or let observed_until and later_rows cut the rows as_of it"
_UNKNOWN = f"is no function that DuckDB knows; {_ALONE}"
_OUTSIDE = f"reads something outside the plan's rows; {_ALONE}"
_BY_ORDER = "depends on the order in which rows are read; name one, as in {name}(... ORDER BY event_time)"
_OVER_NO_ORDER = "depends on the order in which rows are read; name one, as in {name}(...) OVER (ORDER BY event_time)"
_ONE_ROW = "write an expression over the columns of the row"
_OVER_ROWS = f"looks at several rows, and the source has one for each key or instant; {_ONE_ROW}"
_WITHOUT_ORDER = (
    "depends on the order in which rows are read, and takes none; quantile_cont, mode or list(... ORDER BY ...) do not"
)

#: SQL keywords that call a function without parentheses, and that function.
BARE_WORDS = {
    "current_catalog": "current_catalog",
    "current_date": "current_date",
    "current_role": "current_role",
    "current_schema": "current_schema",
    "current_time": "get_current_time",
    "current_timestamp": "get_current_timestamp",
    "current_user": "current_user",
    "localtime": "current_localtime",
    "localtimestamp": "current_localtimestamp",
    "session_user": "session_user",
    "user": "user",
}
_CLOCKS = frozenset(
    {"ago", "current_date", "current_localtime", "current_localtimestamp", "get_current_time", "get_current_timestamp"}
    | {"now", "pg_conf_load_time", "pg_postmaster_start_time", "today", "transaction_timestamp"}
)
#: The catalogue of DuckDB 2.0 marks these as consistent, although they read the clock or the installation.
_NOT_CONSISTENT = frozenset({"current_localtime", "current_localtimestamp", "version"})
_TABLE_FUNCTIONS = frozenset({"generate_series", "generate_subscripts", "json_each", "json_tree", "range", "unnest"})
_ORDERED = frozenset(
    {"any_value", "arbitrary", "array_agg", "first", "group_concat", "last", "list", "listagg", "string_agg"}
)
_UNORDERED = frozenset(
    {"approx_quantile", "approx_top_k", "json_group_array", "json_group_object", "json_group_structure", "lttb"}
    | {"reservoir_quantile", "variant_group_array", "variant_group_object"}
)
_RELATIONS = frozenset(
    {"BASE_TABLE", "CTE", "EMPTY", "EMPTY_FROM", "EXPRESSION_LIST", "JOIN", "PIVOT", "SUBQUERY", "TABLE_FUNCTION"}
)

#: PostgreSQL's functions that read the clock, for the query of a reader; `age` with one argument reads it too.
_POSTGRES_CLOCKS = frozenset(
    {"clock_timestamp", "current_date", "now", "statement_timestamp", "timeofday", "transaction_timestamp"}
    | {"current_time", "current_timestamp", "localtime", "localtimestamp"}
)
_POSTGRES_RANDOM = frozenset(
    {"gen_random_bytes", "gen_random_uuid", "nextval", "random", "random_normal", "setseed", "uuidv4", "uuidv7"}
    | {"uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "currval", "lastval", "txid_current"}
)
_POSTGRES_WORDS = frozenset({"now", "today", "tomorrow", "yesterday"})


class _Call(NamedTuple):
    """A function call in parsed SQL: the name in lower case, the text for messages, and the node of the syntax tree."""

    name: str
    written: str
    node: Node

    @property
    def arguments(self) -> list[Node]:
        return [argument["expression"] for argument in self.node.get("arguments", ())]

    @property
    def is_window(self) -> bool:
        """Whether the function requires OVER, such as row_number; False for an aggregate over a window."""
        return str(self.node["class"]) == "WINDOW" and str(self.node["type"]) != "WINDOW_AGGREGATE"

    @property
    def is_ordered(self) -> bool:
        return bool(self.node.get("orders") or (self.node.get("order_bys") or {}).get("orders"))

    @property
    def is_constant(self) -> bool:
        return all(argument["class"] == "CONSTANT" for argument in self.arguments[:1])

    @property
    def is_age_of_today(self) -> bool:
        return self.name == "age" and len(self.arguments) == 1


@dataclass(frozen=True)
class _Catalogue:
    """DuckDB's function catalogue: the known functions, the inconsistent ones, and the bodies of macros."""

    connection: duckdb.DuckDBPyConnection
    known: frozenset[str]
    inconsistent: frozenset[str]
    aggregates: frozenset[str]
    macros: dict[str, tuple[str, ...]]
    cached_faults: dict[str, str | None] = field(default_factory=dict)

    def parse(self, statements: Sequence[str]) -> list[Node]:
        rows = self.connection.execute(
            "SELECT json_serialize_sql(sql) FROM unnest(?) AS t (sql)", [statements]
        ).fetchall()
        return [json.loads(parsed) for (parsed,) in rows]

    def fault_of(self, name: str) -> str | None:
        """Return why the function `name` may not be called; None if it may."""
        if name not in self.cached_faults:
            self.cached_faults[name] = None  # ends the recursion of a macro that calls itself
            self.cached_faults[name] = self._fault_of(name)
        return self.cached_faults[name]

    def _fault_of(self, name: str) -> str | None:
        if name in _CLOCKS:
            return _CLOCK
        if name in self.inconsistent:
            return _RANDOM
        if name not in self.known:
            return _UNKNOWN
        bodies = self.parse([f"SELECT {definition}" for definition in self.macros.get(name, ())])
        called = {call.name for body in bodies for call in _calls(body, frozenset())}
        return next(filter(None, map(self.fault_of, sorted(called))), None)


@lru_cache(maxsize=1)
def _catalogue() -> _Catalogue:
    import duckdb

    connection = duckdb.connect(config={"autoload_known_extensions": "false", "threads": "1"})
    rows = connection.execute(
        "SELECT lower(function_name), coalesce(stability, 'CONSISTENT') <> 'CONSISTENT' OR coalesce(has_side_effects, false), "
        "macro_definition, function_type = 'aggregate' FROM duckdb_functions() "
        "WHERE function_type IN ('scalar', 'aggregate', 'macro')"
    ).fetchall()
    macros: dict[str, tuple[str, ...]] = {}
    for name, _, definition, _ in rows:
        if definition:
            macros[name] = (*macros.get(name, ()), definition)
    inconsistent = _NOT_CONSISTENT.union(name for name, is_inconsistent, _, _ in rows if is_inconsistent)
    aggregates = frozenset(name for name, _, _, is_aggregate in rows if is_aggregate)
    known = frozenset({"unnest", *(name for name, *_ in rows)})
    return _Catalogue(connection, known, inconsistent, aggregates, macros)


def sql_findings(plan: Plan) -> Iterator[Finding]:
    """Yield (path, fault) for each SQL text of `plan` that is invalid or not deterministic."""
    expressions = list(_expressions(plan))
    faults = expression_faults([(sql, columns) for _, sql, columns in expressions])
    for (path, _, _), found in zip(expressions, faults, strict=True):
        yield from ((path, fault) for fault in found)
    yield from _row_findings(plan)
    for name, source in plan.ingest.items():
        if source.reader.kind == "sql":
            yield from ((f"ingest.{name}.reader.query", fault) for fault in query_faults(source.reader.query))


def _expressions(plan: Plan) -> Iterator[tuple[str, str, Collection[str]]]:
    """Yield the path of each expression, its SQL, and the columns that it can read."""
    for name, view in plan.build_features.views.items():
        for key, feature in view.features.items():
            rows = plan.ingest[feature.source or view.source].columns
            columns = view.features if feature.over == "features" else rows
            yield f"build_features.views.{name}.features.{key}.sql", feature.sql, columns
    columns = plan.ingest[plan.label.source].columns
    yield "label.population", plan.label.population, columns
    yield plan.label.path, plan.label.expression, columns


def _row_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each expression over one row that reads more than the columns of that row."""
    expressions = list(_row_expressions(plan))
    parsed = _catalogue().parse([_as_statement(sql) for _, sql, _ in expressions])
    names = _lowered_once(columns for _, _, columns in expressions)
    for (path, _, columns), tree in zip(expressions, parsed, strict=True):
        yield from ((path, fault) for fault in _beyond_the_row(tree, names[id(columns)]))


def _row_expressions(plan: Plan) -> Iterator[tuple[str, str, Collection[str]]]:
    for name, view in plan.build_features.views.items():
        for key, feature in view.features.items():
            if feature.over == "row":
                rows = plan.ingest[feature.source or view.source].columns
                yield f"build_features.views.{name}.features.{key}.sql", feature.sql, rows
    if not plan.has_time or plan.labels_rows:
        columns = plan.ingest[plan.label.source].columns
        yield plan.label.path, plan.label.expression, columns
        if plan.label.states_population and not plan.has_time:
            yield "label.population", plan.label.population, columns


def _beyond_the_row(parsed: Node, columns: frozenset[str]) -> Iterator[str]:
    """Yield the parts of a parsed expression that need other rows, an instant, or columns that it does not name."""
    nodes = () if parsed["error"] else list(_nodes(parsed))
    for node in nodes:
        name = str(node.get("function_name") or "").lower()
        if node.get("class") == "WINDOW" or name in _catalogue().aggregates:
            yield f"{name}() {_OVER_ROWS}"
        elif node.get("class") == "SUBQUERY":
            yield f"a subquery {_OVER_ROWS}"
        elif node.get("class") == "STAR":
            yield f"* reads every column, the label too; {_ONE_ROW}"
        elif node.get("class") == "COLUMN_REF" and (first := node["column_names"][0].lower()) not in columns:
            if first == "as_of":
                yield f"as_of is no column: the source has no event_time, so there is no instant; {_ONE_ROW}"
            elif first == "source":
                yield f"source reads every column, the label too; {_ONE_ROW}"


def _as_statement(sql: str) -> str:
    return f"SELECT CAST((\n{sql}\n) AS VARCHAR)"


def expression_faults(expressions: Sequence[tuple[str, Collection[str]]]) -> list[list[str]]:
    """Return the faults of each (expression, columns that it can read): what is not SQL or not deterministic."""
    parsed = _catalogue().parse([_as_statement(sql) for sql, _ in expressions])
    names = _lowered_once(columns for _, columns in expressions)
    return [_faults(sql, names[id(columns)], tree) for (sql, columns), tree in zip(expressions, parsed, strict=True)]


def _faults(sql: str, columns: frozenset[str], parsed: Node) -> list[str]:
    if parsed["error"]:
        return [f"{sql!r} is not an SQL expression: {' '.join(parsed['error_message'].split())}"]
    if not _is_expression(parsed["statements"]):
        return [f"{sql!r} is not a single SQL expression; write one for each key"]
    called = [f"{call.written} {fault}" for call in _calls(parsed, columns) if (fault := _call_fault(call))]
    return list(dict.fromkeys([*called, *_relation_faults(parsed)]))


def query_faults(query: str) -> list[str]:
    """Return the faults of a query to PostgreSQL: what reads the clock or is random; none if DuckDB cannot parse it."""
    (parsed,) = _catalogue().parse([query.strip().rstrip(";")])
    if not query.strip(" \t\r\n;"):
        return ["the query is empty; write a SELECT"]
    if parsed["error"]:
        return []
    if len(parsed["statements"]) > 1:
        return ["the query is more than one statement; write one SELECT"]
    calls = list(_calls(parsed, frozenset(), _POSTGRES_CLOCKS))
    clocks = [call.written for call in calls if call.name in _POSTGRES_CLOCKS or call.is_age_of_today]
    randoms = [call.written for call in calls if call.name in _POSTGRES_RANDOM]
    clocks += map(repr, _clock_words(parsed))
    randoms += ["TABLESAMPLE" for node in _nodes(parsed) if node.get("sample")]
    faults = [f"{written} {_CLOCK_IN_QUERY}" for written in clocks]
    return list(
        dict.fromkeys([*faults, *(f"{written} returns other rows on every run; leave it out" for written in randoms)])
    )


def _is_expression(statements: list[Node]) -> bool:
    node = statements[0]["node"]
    selected = node.get("select_list", ())
    # `(a, b)` and `()` parse as one value: a row.
    is_single = len(statements) == 1 and len(selected) == 1 and selected[0]["child"].get("function_name") != "row"
    is_single = (
        is_single
        and not any(each.get("class") == "PARAMETER" for each in _nodes(node))
        and selected[0]["child"]["class"] != "STAR"
    )
    return is_single and str(node["from_table"]["type"]) == "EMPTY" and not node["where_clause"]


def _call_fault(call: _Call) -> str | None:
    if call.is_window:
        return None if call.is_ordered else _OVER_NO_ORDER.format(name=call.name)
    if call.is_age_of_today:
        return _CLOCK
    if call.name in _UNORDERED:
        return _WITHOUT_ORDER
    if call.name in _ORDERED and not (call.is_ordered or call.is_constant):
        return _BY_ORDER.format(name=call.name)
    return _catalogue().fault_of(call.name)


def _calls(parsed: Node, columns: frozenset[str], bare: Collection[str] = BARE_WORDS) -> Iterator[_Call]:
    """Yield each function call; a word without parentheses is a call if it is in `bare` and is not a column."""
    tables = {id(node["function"]) for node in _nodes(parsed) if node.get("type") == "TABLE_FUNCTION"}
    for node in _nodes(parsed):
        if node.get("class") in {"FUNCTION", "WINDOW"} and node.get("function_name") and id(node) not in tables:
            name = node["function_name"].lower()
            yield _Call(name, f"{name}()", node)
        elif node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
            name = node["column_names"][0].lower()
            if name in bare and name not in columns:
                yield _Call(BARE_WORDS.get(name, name), name, node)


def _relation_faults(parsed: Node) -> Iterator[str]:
    """Yield the faults of the relations in subqueries: each must be rows of the plan, or derived from them."""
    defined = {entry["key"].lower() for node in _nodes(parsed) for entry in (node.get("cte_map") or {}).get("map", ())}
    for node in _nodes(parsed):
        if node.get("sample"):
            yield f"a sample of rows {_RANDOM}"
        if "class" in node or "sample" not in node or "alias" not in node:
            continue
        if node["type"] == "TABLE_FUNCTION" and (name := node["function"].get("function_name", "").lower()):
            if name not in _TABLE_FUNCTIONS:
                yield f"{name}() {_OUTSIDE}"
        elif node["type"] == "BASE_TABLE" and not _is_of_plan(node["qualified_name"]["path"], defined):
            yield f"the table {'.'.join(node['qualified_name']['path'])!r} {_OUTSIDE}"
        elif node["type"] not in _RELATIONS:
            yield f"{node['type']} {_OUTSIDE}"


def _is_of_plan(path: list[str], defined: set[str]) -> bool:
    return len(path) == 1 and (path[0].lower().startswith("rows_of_") or path[0].lower() in defined)


def _clock_words(parsed: Node) -> Iterator[str]:
    """Yield the cast literals, such as 'today', that PostgreSQL evaluates by the clock."""
    for node in _nodes(parsed):
        literal = (node.get("child") or {}).get("literal") if node.get("class") == "CAST" else None
        word = str(literal["text"]).strip().lower() if literal else ""
        if word in _POSTGRES_WORDS:
            yield word


def _nodes(part: object) -> Iterator[Node]:
    """Yield every object of a parsed statement."""
    if isinstance(part, dict):
        yield part
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _nodes(each)


def _lowered_once(collections: Iterable[Collection[str]]) -> dict[int, frozenset[str]]:
    """Return the lower-case names of collections by their identity: thousands of features may share one."""
    distinct = {id(names): names for names in collections}
    return {key: frozenset(name.lower() for name in names) for key, names in distinct.items()}
