"""How the online store stores a Feast feature view: its table, its keys, and the codec of each value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from feast.feature_view import DUMMY_ENTITY_FIELD, DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.Value_pb2 import Value

from core.errors import SourceError
from core.plan.limits import MOST_FEATURES, MOST_LISTS
from feature_repo.online.packed_columns import needs_packing
from feature_repo.online.table import PACKED, OnlineTable, versioned_name
from feature_repo.online.types import LIST, name_hash
from feature_repo.stores.definitions import ONLINE_TABLE
from feature_repo.stores.feast_values import Codec, codec, key_codec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feast import FeatureView, Field
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.repo_config import RepoConfig

#: Prefix of views that Feast creates while it writes. The key of their rows is Feast's serialized entity key.
_UNAPPLIED = "__precomputed__"
_ENTITY_KEY = "__entity_key"
_WHOLE_KEY = {_ENTITY_KEY: Codec("bytes", "bytes_val", bytes, bytes)}


@dataclass(frozen=True)
class StoredView:
    """A feature view as the online store stores it.

    Attributes
    ----------
    declared : whether the plan declares the view, so that a release may read its table after the view has changed.
    versioned : whether Feast's registry keeps versions of the view, so that each version has its own readable table.
    keys, features : the codec of each join key and feature, by name.

    """

    project: str
    name: str
    table: OnlineTable
    declared: bool
    versioned: bool
    keys: Mapping[str, Codec]
    features: Mapping[str, Codec]

    @property
    def is_applied(self) -> bool:
        """Whether `apply` creates the table; otherwise the first write does."""
        return _ENTITY_KEY not in self.keys

    def key_of(self, key: EntityKey) -> tuple[object, ...]:
        """Return the values of the key columns for an entity key, for a write.

        Raises
        ------
        SourceError
            If the entity key lacks a column, or has a value of another type.

        """
        given = self._given(key)
        return tuple(self._key(name, given.get(name)) for name in self.keys)

    def lookup_key(self, key: EntityKey) -> tuple[object, ...]:
        """Return the values of the key columns for a read; None, which matches no row, for a value that cannot be stored."""
        given = self._given(key)
        return tuple(self.lookup_value(name, given.get(name)) for name in self.keys)

    def lookup_value(self, name: str, value: Value | None) -> object:
        """Return the value of one key column for a read; None if it cannot be stored."""
        try:
            return None if value is None else self.keys[name].store(value)
        except SourceError:
            return None

    def _given(self, key: EntityKey) -> dict[str, Value]:
        if not self.is_applied:
            return {_ENTITY_KEY: Value(bytes_val=serialize_entity_key(key, entity_key_serialization_version=3))}
        given = dict(zip(key.join_keys, key.entity_values, strict=True))
        # Feast's view listings remove the dummy key of views without entities.
        return given or {DUMMY_ENTITY_ID: Value(string_val=DUMMY_ENTITY_VAL)}

    def _key(self, name: str, value: Value | None) -> object:
        stored = None if value is None else self.keys[name].store(value)
        if stored is None:
            raise SourceError(f"an entity key of the view {self.name!r} has no value for the join key {name!r}")
        return stored

    def values_of(self, values: Mapping[str, Value]) -> tuple[object, ...]:
        """Return the values of the feature columns for a row's messages; None for a feature without a message.

        Raises
        ------
        SourceError
            If a value has another type than its feature, or cannot be stored.

        """
        return tuple(self._value(name, values[name]) if name in values else None for name, _ in self.table.features)

    def _value(self, name: str, value: Value) -> object:
        try:
            return self.features[name].store(value)
        except SourceError as error:
            raise SourceError(f"the feature {name!r} of the view {self.name!r}: {error}") from None


def stored_view(config: RepoConfig, view: FeatureView) -> StoredView:
    """Return how `view` is stored.

    The table of a view that the plan declares is named by its tag. The table of any other view is named by project, name and
    schema, so that a changed schema gets a new table, and by its version if the registry keeps versions online.

    Raises
    ------
    SourceError
        If a key or feature has a type that cannot be stored, or there are too many of them.

    """
    keys = tuple(_Column(field) for field in _key_fields(view))
    names = {column.field.name for column in keys}
    features = tuple(_Column(field) for field in view.features if field.name not in names)
    return _stored_view(
        config.project, view.name, _version(config, view), _tags(view).get(ONLINE_TABLE), keys, features
    )


def _version(config: RepoConfig, view: FeatureView) -> int | None:
    """Return the requested or else the present version of `view`; None if the registry keeps no versions online."""
    if not config.registry.enable_online_feature_view_versioning:
        return None
    requested = getattr(view.projection, "version_tag", None)
    return (getattr(view, "current_version_number", None) if requested is None else requested) or 0


def _key_fields(view: FeatureView) -> Sequence[Field]:
    if view.entity_columns or view.name.startswith(_UNAPPLIED):
        return view.entity_columns  # type: ignore[no-any-return]
    return [DUMMY_ENTITY_FIELD]


def is_declared(view: FeatureView) -> bool:
    """Return whether the plan declares `view`."""
    return ONLINE_TABLE in _tags(view)


def _tags(view: FeatureView) -> Mapping[str, str]:
    return getattr(view, "tags", None) or {}


def time_to_live(view: Any) -> timedelta:
    """Return how long a row of `view` is fresh; in Feast, none or zero means without limit."""
    return getattr(view, "ttl", None) or timedelta.max


class _Column:
    """A field that is hashed and compared by name and type; Feast's own comparison serializes messages."""

    __slots__ = ("field", "identity")

    def __init__(self, field: Field) -> None:
        self.field = field
        self.identity = (field.name, str(field.dtype))

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Column) and self.identity == other.identity


@lru_cache(maxsize=1024)
def _stored_view(
    project: str,
    name: str,
    version: int | None,
    tag: str | None,
    keys: tuple[_Column, ...],
    features: tuple[_Column, ...],
) -> StoredView:
    key_codecs = {column.field.name: key_codec(column.field, name) for column in keys} or _WHOLE_KEY
    codecs = {column.field.name: codec(column.field, name) for column in features}
    table = OnlineTable(
        name=tag or _derived_name(project, name, version or 0, key_codecs, codecs),
        keys=tuple((key, found.dtype) for key, found in key_codecs.items()),
        features=tuple((feature, codecs[feature].dtype) for feature in sorted(codecs)),
    )
    _require_storable(name, table)
    return StoredView(project, name, table, tag is not None, version is not None, key_codecs, codecs)


def _require_storable(name: str, table: OnlineTable) -> None:
    found, lists = len(table.features), sum(dtype.endswith(LIST) for _, dtype in table.features)
    if found > MOST_FEATURES or lists > MOST_LISTS:
        raise SourceError(
            f"the view {name!r} has {found:,} features, {lists:,} of them lists; expected at most {MOST_FEATURES:,}, and at "
            f"most {MOST_LISTS:,} lists, which are not packed into one column of its online table: split it"
        )


def _derived_name(
    project: str, name: str, version: int, keys: Mapping[str, Codec], features: Mapping[str, Codec]
) -> str:
    columns = [
        [(column, found.dtype, found.field) for column, found in sorted(part.items())] for part in (keys, features)
    ]
    identity = [project, name, *columns, *([version] if version else [])]
    types = [tuple((column, found.dtype) for column, found in part.items()) for part in (keys, features)]
    packed = PACKED if needs_packing(*types) else ""
    return versioned_name(f"{project}_{name}", name_hash(repr(identity)) + packed)
