"""What came with the entities of a request: features, which replace those of the online store, and attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.contracts import Freshness, ViewRead
from serving.wire.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from core.contracts import Value
    from feature_repo.online.handle import HandleView
    from serving.active_releases import ActiveReleases
    from serving.features import Facts
    from serving.wire.decode import GivenFeatures


def with_given(facts: Facts, given: Sequence[GivenFeatures], active: ActiveReleases) -> Facts:
    """Return the facts with the features that came with each entity.

    Raises
    ------
    Refusal
        If a release needs a feature of a given view that was not given, or a view of the linked entity that a given feature
        names.

    """
    if not any(given):
        return facts
    views = {view.name: view for view in active.handle.views}
    entities = [
        known._replace(reads={**known.reads, **dict(_reads(features, views, active))})
        for known, features in zip(facts.entities, given, strict=True)
    ]
    return facts._replace(entities=entities)


def with_attributes(facts: Facts, attributes: Sequence[Mapping[str, Value]]) -> Facts:
    """Return the facts with the attributes that came with each entity, if any came."""
    if not any(attributes):
        return facts
    entities = [known._replace(attributes=found) for known, found in zip(facts.entities, attributes, strict=True)]
    return facts._replace(entities=entities)


def _reads(
    given: GivenFeatures, views: Mapping[str, HandleView], active: ActiveReleases
) -> Iterator[tuple[str, ViewRead]]:
    tables = {table: view for release in active.releases for view, table in release.tables.items()}
    for table, view in tables.items():
        link = views[table].link
        if view in given:
            yield table, ViewRead(None, Freshness.GIVEN, tuple(_values(given[view], view, views[table].columns)))
        elif link and tables.get(link.view) in given:
            raise Refusal(
                f"found the features of {tables[link.view]!r}, which name the entity that {view!r} is about, without those of "
                f"{view!r}; expected both"
            )


def _values(given: Mapping[str, Value], view: str, names: Sequence[str]) -> Iterator[Value]:
    for name in names:
        if name not in given:
            raise Refusal(f"found no {name!r} among the features of {view!r} in the plan, and the release reads it")
        yield given[name]
