"""Any table that pandas or DuckDB writes comes in equal, value by value, through every reader of its format."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import deltalake
import duckdb
import pandas as pd
import pyarrow as pa
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from feature_repo.files.duck import literal
from tests.feature_repo.sources.stranger import accepted_rows, raw_rows, stranger

if TYPE_CHECKING:
    from pathlib import Path

#: Formats by the kind of their reader (`json` is an array, for that of `jsonl`), and the ending of their files.
_FORMATS = {
    "csv": "csv",
    "jsonl": "jsonl",
    "json": "json",
    "parquet": "parquet",
    "excel": "xlsx",
    "sqlite": "db",
    "duckdb": "duckdb",
    "delta": "delta",
}
#: No control characters, which Excel has none of, and nothing that a name or value would lose at its ends.
_LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\ufeff\ufffe\uffff")
_TEXTS = st.text(_LETTERS, min_size=1, max_size=8).filter(lambda text: text == text.strip() and text[0] != "=")
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": _TEXTS | st.sampled_from(["007", "NA", "null", "1e5", 'say "x"', "a,b", "O'Hara", "#1", "\\N"]),
    "int64": st.integers(-(2**53) + 1, 2**53 - 1),
    # 15 digits, since that is what pandas writes into JSON.
    "float64": st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda value: float(f"{value:.15g}")),
    "bool": st.booleans(),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[Any]]]:
    """Draw the types of columns, their names and their values; the first column is full and tells the rows apart."""
    dtypes = ["string", *draw(st.lists(st.sampled_from(sorted(_VALUES)), min_size=1, max_size=3))]
    names = draw(
        st.lists(_TEXTS, min_size=len(dtypes), max_size=len(dtypes), unique_by=lambda name: name.casefold()).filter(
            lambda names: "seen" not in {name.casefold() for name in names}
        )
    )
    rows = draw(st.integers(1, 4))
    columns = [
        draw(st.lists(_VALUES[dtype] if number == 0 else st.none() | _VALUES[dtype], min_size=rows, max_size=rows))
        for number, dtype in enumerate(dtypes)
    ]
    columns[0] = [f"{number}{value}" for number, value in enumerate(columns[0])]
    return dtypes, names, columns


def _write(kind: str, file: Path, frame: pd.DataFrame, *, by_duckdb: bool) -> None:
    if kind == "excel":
        frame.to_excel(file, index=False)
    elif kind == "delta":
        deltalake.write_deltalake(file, pa.Table.from_pandas(frame, preserve_index=False))
    elif kind == "sqlite":
        with closing(sqlite3.connect(file)) as connection:
            frame.to_sql("things", connection, index=False)
    elif by_duckdb or kind == "duckdb":
        with duckdb.connect(str(file) if kind == "duckdb" else ":memory:") as connection:
            connection.register("frame", frame)
            if kind == "duckdb":
                connection.execute("CREATE TABLE things AS FROM frame")
            else:
                form = {"jsonl": "json", "json": "json, ARRAY true"}.get(kind, kind)
                connection.execute(f"COPY frame TO {literal(file)} (FORMAT {form})")
    elif kind == "csv":
        frame.to_csv(file, index=False)
    elif kind in {"json", "jsonl"}:
        frame.to_json(file, orient="records", lines=kind == "jsonl", force_ascii=False, double_precision=15)
    else:
        frame.to_parquet(file, index=False)


_PANDAS: dict[str, Any] = {"string": "object", "int64": "Int64", "float64": "Float64", "bool": "boolean"}


@example(
    table=(["string", "float64"], ["a", "b"], [["0"], [float("6.19763179517379e+16")]]), kind="jsonl", by_duckdb=False
)
@given(table=tables(), kind=st.sampled_from(sorted(_FORMATS)), by_duckdb=st.booleans())
@settings(
    max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_a_table_comes_in_equal_value_by_value(
    tmp_path_factory: Any, table: tuple[list[str], list[str], list[list[Any]]], kind: str, by_duckdb: bool
) -> None:
    folder: Path = tmp_path_factory.mktemp("any")
    dtypes, names, columns = table
    frame = pd.DataFrame(
        {
            name: pd.Series(values, dtype=_PANDAS[dtype])
            for name, dtype, values in zip(names, dtypes, columns, strict=True)
        }
    )
    frame["seen"] = "2024-01-01"
    file = folder / f"things.{_FORMATS[kind]}"
    _write(kind, file, frame, by_duckdb=by_duckdb)
    declared = {
        "id" if number == 0 else f"c{number}": {"dtype": dtype, "rename_from": name}
        for number, (name, dtype) in enumerate(zip(names, dtypes, strict=True))
    }
    reader = {
        "kind": "jsonl" if kind == "json" else kind,
        "path": str(file),
        **({"table": "things"} if kind in {"sqlite", "duckdb"} else {}),
    }
    source = stranger(reader, **declared, amount={"dtype": "string", "rename_from": "seen"})
    raw_rows(source, folder)
    found = accepted_rows(source, folder)
    expected = sorted(zip(*columns, strict=True))
    assert [tuple(row[name] for name in declared) for row in found] == expected
