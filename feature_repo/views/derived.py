"""What of a feature view is computed from its other features (`over: features`), one layer after another.

A feature stands in the layer after the last one that its SQL names. Each layer is computed from columns that are there already,
so that a long chain of features is no deep expression, and one that is named twice is not computed twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from feature_repo.files.duck import fetch, identifier
from feature_repo.views.facts import cast
from feature_repo.views.sql_names import named

if TYPE_CHECKING:
    import duckdb

    from core.plan.plan import Feature, View

#: The features of one query: the time in which DuckDB plans it grows faster than their number.
_MOST_AT_ONCE = 256


def derive(connection: duckdb.DuckDBPyConnection, view: View, facts: pa.Table) -> pa.Table:
    """Append to `facts`, the columns that `view` has over rows, those that it computes from features.

    Raises
    ------
    duckdb.Error
        If the SQL of a feature fails.

    """
    for layer in _layers(view):
        for begin in range(0, len(layer), _MOST_AT_ONCE):
            facts = _append(connection, dict(layer[begin : begin + _MOST_AT_ONCE]), facts)
    return facts


def _append(connection: duckdb.DuckDBPyConnection, features: dict[str, Feature], facts: pa.Table) -> pa.Table:
    needed = named(facts.column_names, " ".join(feature.sql for feature in features.values()))
    # Without a column a table has no rows.
    connection.register("facts", facts.select(needed or facts.column_names[:1]))
    columns = ", ".join(f"{cast(feature)} AS {identifier(name)}" for name, feature in features.items())
    found = fetch(connection, f"SELECT {columns} FROM facts")
    return pa.table([*facts.columns, *found.columns], names=[*facts.column_names, *found.column_names])


def _layers(view: View) -> list[list[tuple[str, Feature]]]:
    """Sort the features over features: each layer names only columns, and features of earlier layers."""
    layer_of: dict[str, int] = {}
    layers: list[list[tuple[str, Feature]]] = []
    for name, feature in view.features.items():
        if feature.over == "features":
            layer_of[name] = max((layer_of[each] + 1 for each in named(layer_of, feature.sql)), default=0)
            layers.extend([] for _ in range(layer_of[name] + 1 - len(layers)))
            layers[layer_of[name]].append((name, feature))
    return layers
