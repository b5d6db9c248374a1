"""The features of a view that are computed from its other features (`over: features`), layer by layer.

A feature belongs to the layer after the last one that its SQL references. Each layer is computed from existing columns. So a
long chain of features is no deep expression, and a feature that is referenced twice is computed once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.files.duck import fetch, identifier
from feature_repo.views.facts import cast
from feature_repo.views.sql_names import named

if TYPE_CHECKING:
    import duckdb

    from core.plan.plan import Feature, View

#: The most features of one query: DuckDB's planning time grows faster than their number.
_MAX_FEATURES = 256
_WINDOW = re.compile(r"\bover\b", re.IGNORECASE)
#: The column with the index of a row; its blanks distinguish it from every feature.
_ROW = "index of the row"


def derive(connection: duckdb.DuckDBPyConnection, view: View, facts: pa.Table) -> pa.Table:
    """Return `facts` (the features of `view` over rows) with the features of `view` over features appended.

    Raises
    ------
    duckdb.Error
        If the SQL of a feature fails.

    """
    for layer in _layers(view):
        for begin in range(0, len(layer), _MAX_FEATURES):
            facts = _append(connection, dict(layer[begin : begin + _MAX_FEATURES]), facts)
    return facts


def _append(connection: duckdb.DuckDBPyConnection, features: dict[str, Feature], facts: pa.Table) -> pa.Table:
    sql = " ".join(feature.sql for feature in features.values())
    # A table needs a column to have rows.
    used = facts.select(named(facts.column_names, sql) or facts.column_names[:1])
    columns = ", ".join(f"{cast(feature)} AS {identifier(name)}" for name, feature in features.items())
    if _WINDOW.search(sql):
        # A window returns its rows by partition; the features are appended by position.
        connection.register("facts", used.append_column(_ROW, pa.array(np.arange(len(facts)))))
        found = fetch(connection, f"SELECT {columns} FROM facts ORDER BY {identifier(_ROW)}")
    else:
        connection.register("facts", used)
        found = fetch(connection, f"SELECT {columns} FROM facts")
    return pa.table([*facts.columns, *found.columns], names=[*facts.column_names, *found.column_names])


def _layers(view: View) -> list[list[tuple[str, Feature]]]:
    """Return the features over features in layers; the SQL of each references only features of earlier layers."""
    layer_of: dict[str, int] = {}
    layers: list[list[tuple[str, Feature]]] = []
    for name, feature in view.features.items():
        if feature.over == "features":
            layer_of[name] = max((layer_of[each] + 1 for each in named(layer_of, feature.sql)), default=0)
            layers.extend([] for _ in range(layer_of[name] + 1 - len(layers)))
            layers[layer_of[name]].append((name, feature))
    return layers
