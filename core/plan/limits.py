"""What is too much of a plan to be stored and read: all limits on how wide it may be.

PostgreSQL keeps a row in a page of 8 kB, in at most 1,600 columns, and answers a query with at most 1,664. A view whose row
might not fit is stored in arrays, one for each dtype (`feature_repo.online.packed_columns`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from core.plan.plan import Plan

#: What PostgreSQL can hold of a row in a page, less its header and the bits that say what is NULL, and its columns.
MOST_BYTES, MOST_COLUMNS = 7_900, 1_600
#: The features of a view, however they are stored, and those of Feast's that are lists, which no array can hold.
MOST_FEATURES, MOST_LISTS = 5_000, 320
#: The columns that one statement reads, event times among them.
MOST_READ = 1_600
_ARRAYS = 9


def limit_findings(plan: Plan) -> Iterator[tuple[str, str]]:
    """Find the views and services that are too wide, each with the path of its key."""
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
    """Count the columns that hold features of these views, which stand here once for each feature, and the event times."""
    return sum(1 + (_ARRAYS if _is_packed(plan, name) else views.count(name)) for name in dict.fromkeys(views))


def _is_packed(plan: Plan, name: str) -> bool:
    """Say whether the view's table is packed; as `feature_repo.online.packed_columns` does, of the plan's dtypes."""
    view = plan.build_features.views[name]
    dtypes = [plan.entity_of(view).dtype, *(feature.dtype for feature in view.features.values())]
    return sum(24 if dtype in {"string", "text"} else 8 for dtype in ("timestamp", "timestamp", *dtypes)) > MOST_BYTES
