"""The definition of a view: everything but the source rows that its values depend on. Its hash names the online table.

Two definitions with one fingerprint have the same values, so they share a table. The fingerprint covers

- the SQL, types, windows, lags and freshness of the features,
- the entity, when it exists, and the link to it,
- how each source is interpreted: its times and zones, the columns in the SQL, the rules that reject or repair rows.

It does not cover documentation (meanings and units), the order of features or rules, nor columns that the view does not
read.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core.contracts import Link
from core.plan.ingest import QualityRules
from core.plan.plan import Entity, View
from core.plan.rows.look_ups import joined_columns
from core.plan.times import EACH_ROW
from feature_repo.online.table import PACKED, OnlineTable, versioned_name
from feature_repo.views.sql_names import named

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from core.plan.ingest import Column, Source, TimeColumn
    from core.plan.plan import Feature, Plan

#: The version of the stored form of a definition.
FORMAT_VERSION = 1
#: Fields that locate a source and decode its bytes; they do not change what a row means.
_LOCATION_FIELDS = {"kind", "path", "sha256", "url_env", "requirement", "member", "delimiter", "encoding"}
_DAYS_OF_A_WEEK = 7
#: String literals, quoted identifiers and runs of whitespace in an SQL expression.
_SQL_PARTS = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|\s+""")
_SQL_WITH_COMMENTS = re.compile(r"--|/\*|\$")


@dataclass(frozen=True)
class ViewDefinition:
    """A view with everything that its values depend on.

    Attributes
    ----------
    entity : the entity that the view describes.
    link : how a linked entity is reached; None if the entity is the predicted one.
    holder : the view with the link feature, reduced to what that feature is computed from.
    sources : how each source is interpreted, as far as the view reads it.

    """

    name: str
    view: View
    entity: Entity
    link: Link | None
    holder: View | None
    sources: Mapping[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the definition."""
        return hashlib.sha256(json.dumps(self._canonical(), sort_keys=True).encode()).hexdigest()

    @property
    def table(self) -> OnlineTable:
        """The online table of this definition."""
        version = self.fingerprint[:12] + (PACKED if self.table_named("").is_packed else "")
        return self.table_named(versioned_name(self.name, version))

    def table_named(self, name: str) -> OnlineTable:
        """Return an online table of this definition under the name `name`."""
        features = sorted((feature, spec.dtype) for feature, spec in self.view.features.items())
        return OnlineTable(name, ((self.entity.key, self.entity.dtype),), tuple(features))

    def to_json(self) -> str:
        """Compose the stored form, which `definition_from_json` reads."""
        stored = {
            "view": _plain(self.view.model_dump(exclude_none=True)),
            "entity": _plain(self.entity.model_dump(exclude_none=True)),
            "link": asdict(self.link) if self.link else None,
            "holder": _plain(self.holder.model_dump(exclude_none=True)) if self.holder else None,
        }
        return json.dumps(stored)

    def _canonical(self) -> dict[str, Any]:
        entity = self.entity
        return {
            "entity": [entity.key, entity.dtype, entity.source, entity.until],
            "source": self.view.source,
            "ttl": self.view.ttl.total_seconds(),
            "every": _cadence(self.view.every),
            "features": _features(self.view),
            "link": _link(self.link, self.holder) if self.link and self.holder else None,
            "sources": self.sources,
        }


def view_definition(plan: Plan, name: str) -> ViewDefinition:
    """Return the definition of the view `name` of `plan`."""
    view = plan.build_features.views[name]
    link = plan.link_of(view)
    holder = needed_for(plan.build_features.views[link.view], link.feature) if link else None
    entity = plan.entity_of(view)
    sources = {source: _meaning(plan, source, view, link, holder) for source in _source_names(view, entity, holder)}
    return ViewDefinition(name, view, entity, link, holder, sources)


def view_definitions(plan: Plan) -> dict[str, ViewDefinition]:
    """Return the definitions of all views of `plan` by their names."""
    return {name: view_definition(plan, name) for name in plan.build_features.views}


def declared_table(plan: Plan, name: str) -> OnlineTable:
    """Return the online table of the view `name`, as `plan` defines it."""
    return view_definition(plan, name).table


def declared_definition(plan: Plan, name: str) -> str:
    """Return the fingerprint of the view `name`, as `plan` defines it."""
    return view_definition(plan, name).fingerprint


def definition_from_json(plan: Plan, name: str, stored: str) -> ViewDefinition | None:
    """Return a stored definition of the view `name` over the sources of `plan`; None if `plan` lacks one of them."""
    content = json.loads(stored)
    view, entity = View.model_validate(content["view"]), Entity.model_validate(content["entity"])
    link = Link(**content["link"]) if content["link"] else None
    holder = View.model_validate(content["holder"]) if content["holder"] else None
    names = _source_names(view, entity, holder)
    if any(source not in plan.ingest for source in names):
        return None
    sources = {source: _meaning(plan, source, view, link, holder) for source in names}
    return ViewDefinition(name, view, entity, link, holder, sources)


def needed_for(view: View, feature: str) -> View:
    """Return `view` with only `feature`, as the last one, and the features from which it may be computed."""
    names = list(view.features)
    before = names[: names.index(feature)] if view.features[feature].over == "features" else []
    return view.model_copy(update={"features": {name: view.features[name] for name in (*before, feature)}})


def _source_names(view: View, entity: Entity, holder: View | None) -> Sequence[str]:
    return sorted({*view.sources, *entity.sources, *(holder.sources if holder else ())})


def _meaning(plan: Plan, name: str, view: View, link: Link | None, holder: View | None) -> dict[str, Any]:
    """Return how a source is interpreted, as far as the view or the holder of its link reads it."""
    source, rules = plan.ingest[name], plan.validate_.get(name, QualityRules())
    key = plan.entities[source.entity].key
    sql = " ".join(_sql_over(name, view) + (_sql_over(name, holder) if holder else []))
    always = {
        key,
        *(time.column for time in source.times),
        *([link.key] if link else []),
        *(column for _, column in rules.columns()),
    }
    read = always.intersection(source.columns).union(named(source.columns, sql))
    joins = {look_up for look_up, columns in joined_columns(source).items() if read.intersection(columns)}
    read |= {column for look_up in joins for column in source.join[look_up].key}
    meaning = {
        "key": key,
        "times": [_time(time) if time else None for time in (source.event_time, source.created_time)],
        "columns": {column: _column(column, source.columns[column]) for column in read},
        "reader": _reader(source),
        "rules": _rules(rules),
    }
    if joins:
        meaning["joins"] = {look_up: _look_up(plan, source, look_up, read) for look_up in sorted(joins)}
    return meaning


def _look_up(plan: Plan, source: Source, look_up: str, read: Collection[str]) -> dict[str, Any]:
    """Return what the columns that `source` gets from a look-up, and are read, depend on."""
    stated = source.join[look_up]
    other = plan.ingest[stated.source]
    origins = {column.origin for name, column in joined_columns(source)[look_up].items() if name in read}
    columns = {name: _column(name, other.columns[name]) for name in (*stated.key.values(), *origins)}
    return {"source": stated.source, "key": stated.key, "columns": columns, "reader": _reader(other)}


def _sql_over(source: str, view: View) -> list[str]:
    return [
        feature.reads
        for feature in view.features.values()
        if feature.over != "features" and (feature.source or view.source) == source
    ]


def _time(column: TimeColumn) -> dict[str, Any]:
    return column.model_dump(mode="json", exclude_defaults=True)


def _column(name: str, column: Column) -> dict[str, Any]:
    stated = column.model_dump(mode="json", exclude_defaults=True, exclude={"meaning", "unit", "pii", "rename_from"})
    return {**stated, "from": column.rename_from or name, "hashed": column.pii == "hash"}


def _reader(source: Source) -> dict[str, Any]:
    return source.reader.model_dump(mode="json", exclude_defaults=True, exclude=_LOCATION_FIELDS)


def _rules(rules: QualityRules) -> dict[str, Any]:
    stated = rules.model_dump(mode="json", exclude_defaults=True, exclude={"max_rejected"})
    allowed = {column: sorted(values) for column, values in rules.allowed.items()}
    return {
        rule: allowed if rule == "allowed" else sorted(value) if isinstance(value, list) else value
        for rule, value in stated.items()
    }


def _features(view: View) -> dict[str, Any]:
    return {name: _feature(view, feature) for name, feature in view.features.items()}


def _feature(view: View, feature: Feature) -> dict[str, Any]:
    stated = {"sql": _plain_sql(feature.sql), "dtype": feature.dtype, "over": feature.over}
    if feature.over == "features":
        return stated
    spans = {"window": _seconds(feature.window), "lag": _seconds(feature.lag)}
    # Earlier fingerprints have no such key, so only a feature whose rows end has it.
    ends = {"valid_until": feature.valid_until} if feature.valid_until else {}
    return {**stated, **spans, **ends, "source": feature.source or view.source}


def _link(link: Link, holder: View) -> dict[str, Any]:
    return {
        "feature": link.feature,
        "keys": [link.from_key, link.key, link.dtype],
        "source": holder.source,
        "features": _features(holder),
    }


def _seconds(duration: timedelta | None) -> float | None:
    return duration.total_seconds() if duration else None


def _cadence(every: str) -> str:
    """Return a cadence in hours, days or months.

    >>> _cadence("2 weeks"), _cadence("1 day"), _cadence("1 months")
    ('14 days', '1 days', '1 months')
    """
    if every == EACH_ROW:
        return every
    number, _, unit = every.removesuffix("s").partition(" ")
    return f"{int(number) * _DAYS_OF_A_WEEK} days" if unit == "week" else f"{int(number)} {unit}s"


def _plain_sql(sql: str) -> str:
    """Return `sql` with runs of whitespace outside quotes collapsed; only stripped if it may hold a comment or `$` quote.

    >>> _plain_sql("sum(a)  filter (where b = 'x  y')")
    "sum(a) filter (where b = 'x  y')"
    """
    if _SQL_WITH_COMMENTS.search(sql):
        return sql.strip()
    return _SQL_PARTS.sub(lambda found: found[1] or " ", sql).strip()


def _plain(value: Any) -> Any:
    """Return `value` for JSON, with durations as the plan writes them."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return f"{int(value.total_seconds())}s" if isinstance(value, timedelta) else value


#: The feature fields that earlier fingerprints covered.
_EARLIER_FEATURE = {"sql", "dtype", "source", "window", "lag", "over", "unit", "meaning"}


def earlier_definition(plan: Plan, name: str) -> str:
    """Return the sha256 of the view `name` in earlier versions, which also covered texts and the order of features."""
    view = plan.build_features.views[name]
    link = plan.link_of(view)
    holder = plan.build_features.views[link.view] if link else None
    reached = f"{link.feature} {_earlier(holder, plan.entity_of(holder))} " if link and holder else ""
    return _earlier(view, plan.entity_of(view), reached)


def earlier_name(plan: Plan, name: str) -> str:
    """Return the name of the online table of the view `name` in earlier versions."""
    return versioned_name(name, earlier_definition(plan, name)[:12])


def _earlier(view: View, entity: Entity, link: str = "") -> str:
    fields = {"source", "ttl", "every", "features", *(["entity"] if view.entity else [])}
    stated = json.loads(view.model_dump_json(include=fields))
    ordered = {name: stated[name] for name in ("source", "entity", "ttl", "every") if name in stated}
    features = {
        name: {key: value for key, value in feature.items() if key in _EARLIER_FEATURE}
        for name, feature in stated["features"].items()
    }
    text = json.dumps({**ordered, "features": features}, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{entity.key} {entity.dtype} {link}{text}".encode()).hexdigest()
