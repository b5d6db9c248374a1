"""Limits on the width of views and services, from the limits of PostgreSQL.

A row of PostgreSQL fits into a page of 8 kB and has at most 1,600 columns; a query returns at most 1,664. A view whose row
might not fit is stored in arrays, one for each dtype (`feature_repo.online.packed_columns`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from core.plan.plan import Plan

#: Bytes of a row that fit into a page, after the header and the NULL bitmap; columns of a table.
MOST_BYTES, MOST_COLUMNS = 7_900, 1_600
#: Features of a view, however stored; features of Feast's list types, which cannot be packed into arrays.
MOST_FEATURES, MOST_LISTS = 5_000, 320
#: Columns that one statement reads, event times included.
MOST_READ = 1_600
#: Upper bound of the array columns of a packed view: one for each dtype.
_ARRAYS = 9


def limit_findings(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield (path, fault) for each view and service that is too wide."""
    section = plan.build_features
    for name, view in section.views.items():
        if len(view.features) > MOST_FEATURES:
            yield (
                f"build_features.views.{name}.features",
                f"found {len(view.features):,} features; expected at most {MOST_FEATURES:,} in a view: split it",
            )
    for name in section.services:
        read = _columns_read(plan, [view for view, _ in section.service_features(name)])
        if read > MOST_READ:
            yield (
                f"build_features.services.{name}",
                (
                    f"found {read:,} columns of online tables that a prediction would read, event times among them; expected "
                    f"at most {MOST_READ:,}: choose fewer features, or declare them in one view, which is stored in arrays"
                ),
            )


def _columns_read(plan: Plan, views: Sequence[str]) -> int:
    """Return the number of columns read for `views` (a view's name once for each feature read), event times included."""
    return sum(1 + (_ARRAYS if _is_packed(plan, name) else views.count(name)) for name in dict.fromkeys(views))


def _is_packed(plan: Plan, name: str) -> bool:
    """Return whether the view's table is packed, by the rule of `feature_repo.online.packed_columns` on the plan's dtypes."""
    view = plan.build_features.views[name]
    dtypes = [plan.entity_of(view).dtype, *(feature.dtype for feature in view.features.values())]
    return sum(24 if dtype in {"string", "text"} else 8 for dtype in ("timestamp", "timestamp", *dtypes)) > MOST_BYTES
