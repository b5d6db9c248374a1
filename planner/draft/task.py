"""The line that states a task, such as `churn = 'Yes'`, `price`, or `count(orders) = 0 in 90d for each customer`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from core.errors import PantheraError
from core.plan.times import parse_duration

_IN_TIME = re.compile(
    r"^(?P<value>.+?)\s+in\s+(?P<horizon>\d+\s*[smhdw])(?:\s+after\s+(?P<lead>\d+\s*[smhdw]))?(?:\s+for\s+each\s+(?P<entity>\w+))?(?:\s+where\s+(?P<population>.+))?$",
    re.IGNORECASE | re.DOTALL,
)
_COMPARED = re.compile(
    r"^(?P<column>.+?)\s*(?P<operator>=|==|!=|<>|>=|<=|>|<)\s*(?P<value>'[^']*'|\"[^\"]*\"|[^<>=!]+)$", re.DOTALL
)
_AGGREGATE = re.compile(
    r"\b(?P<function>count|sum|avg|min|max)\s*\(\s*(?:(?P<distinct>distinct)\s+)?(?P<of>[\w.*]+)(?:\s+where\s+(?P<only>[^()]+))?\s*\)",
    re.IGNORECASE,
)
_EXPECTED = "expected a column, a comparison such as churn = 'Yes', or count(orders) = 0 in 90d for each customer"


@dataclass(frozen=True)
class ColumnTask:
    """The task to predict a column of the entity's own row: its value, or the result of a comparison."""

    column: str
    operator: str | None = None
    value: str | None = None


@dataclass(frozen=True)
class WindowTask:
    """The task to predict an aggregate of rows of `table` in the `horizon` after an instant, for each entity of a population.

    Attributes
    ----------
    table : the table that the aggregates name.
    lead : the time between the instant and the window; None without one.
    value, population : SQL over the rows of the table; an empty population is all entities with a row.
    is_condition : whether the value is a comparison, so that the label is true or false.

    """

    table: str
    value: str
    horizon: str
    lead: str | None
    entity: str | None
    population: str
    is_condition: bool

    @property
    def lead_time(self) -> timedelta:
        """The time between the instant and the window."""
        return parse_duration(self.lead) if self.lead else timedelta()


def parse_task(line: str) -> ColumnTask | WindowTask:
    """Return the task that a line states.

    Raises
    ------
    PantheraError
        If the line states no task.

    """
    text = line.strip()
    if found := _IN_TIME.match(text):
        return _window(found)
    if _AGGREGATE.search(text):
        raise PantheraError(f"{line!r} states no time; add one, as in: {text} in 30d for each customer")
    if found := _COMPARED.match(text):
        return ColumnTask(
            _bare(found["column"]), found["operator"].replace("==", "=").replace("<>", "!="), _bare(found["value"])
        )
    if not text:
        raise PantheraError(f"the line about what to predict is empty; {_EXPECTED}")
    return ColumnTask(_bare(text))


def _bare(text: str) -> str:
    text = text.strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted else text


def _window(found: re.Match[str]) -> WindowTask:
    parse = [_of_rows(found["value"]), _of_rows(found["population"] or "")]
    tables = {table for _, names in parse for table in names}
    if len(tables) != 1:
        named = f"names the tables {', '.join(sorted(tables))}" if tables else "names no table"
        raise PantheraError(f"{found[0]!r} {named}; {_EXPECTED}")
    horizon, lead = (found[key] and found[key].replace(" ", "") for key in ("horizon", "lead"))
    try:
        for stated in filter(None, (horizon, lead)):
            parse_duration(stated)
    except ValueError as error:
        raise PantheraError(f"{found[0]!r}: {error}") from None
    value, population = (sql for sql, _ in parse)
    is_condition = re.search(r"[<>=]", re.sub(r"FILTER \([^()]*\)", "", value)) is not None
    return WindowTask(tables.pop(), value, horizon, lead, found["entity"], population, is_condition)


def _of_rows(text: str) -> tuple[str, list[str]]:
    """Return an expression with aggregates over rows, `count(*)` for `count(orders)`, and the tables that it names.

    `count(orders where amount > 9)` is `count(*) FILTER (amount > 9)`.
    """
    tables: list[str] = []

    def replaced(found: re.Match[str]) -> str:
        function, (table, _, column) = found["function"].lower(), found["of"].partition(".")
        tables.append(table)
        only = f" FILTER ({found['only'].strip()})" if found["only"] else ""
        if not column and function == "count":
            return f"count(*){only}"
        if not column:
            raise PantheraError(f"{found[0]!r} names no column; write {function}({table}.column)")
        inner = f'{"DISTINCT " if found["distinct"] else ""}"{column}"'
        return f"coalesce(sum({inner}){only}, 0)" if function == "sum" else f"{function}({inner}){only}"

    return _AGGREGATE.sub(replaced, text.strip()), tables
