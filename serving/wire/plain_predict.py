"""Decode the plain form of a request for predictions by structs, which takes a tenth of the time of `decode_predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from core.dtypes import INT64
from serving.wire.decode import EntitiesRequest, decode_predict
from serving.wire.values import LONGEST_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from feature_repo.online.table import OnlineTable
    from serving.wire.values import EntityKey

#: Types of keys by dtype, with the limits that `decode_predict` checks.
_KEYS: dict[str, Any] = {
    "int64": Annotated[int, msgspec.Meta(ge=INT64.start, le=INT64.stop - 1)],
    "string": Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TEXT)],
}


class PredictDecoder:
    """Decodes the requests of one plan.

    The plain form has nothing but entities, each with its key. Everything else is decoded by `decode_predict`, also what is
    malformed, so that there is one set of errors.
    """

    def __init__(self, key: EntityKey, most: int, views: Mapping[str, OnlineTable]) -> None:
        self._key, self._most, self._views = key, most, views
        entity = msgspec.defstruct(
            "Entity", [("key", _KEYS[key.dtype], msgspec.field(name=key.name))], forbid_unknown_fields=True
        )
        entities = Annotated[list[entity], msgspec.Meta(min_length=1, max_length=most)]  # type: ignore[valid-type]
        body = msgspec.defstruct(
            "Body",
            [("entity", entity | UnsetType, UNSET), ("entities", entities | UnsetType, UNSET)],
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(body).decode
        #: The number of quotation marks of an entity.
        self._quotes = 4 if key.dtype == "string" else 2

    def __call__(self, body: bytes, now: datetime) -> EntitiesRequest:
        """Return the decoded body.

        Raises
        ------
        NotJson, TooLarge, Refusal
            If the body is malformed.

        """
        keys = self._plain_keys(body)
        return EntitiesRequest(keys, None) if keys else decode_predict(body, self._key, self._most, now, self._views)

    def _plain_keys(self, body: bytes) -> tuple[Any, ...]:
        """Return the keys of a body in the plain form; none if it has another one."""
        try:
            content: Any = self._decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return ()
        if (content.entity is UNSET) == (content.entities is UNSET):
            return ()
        rows = [content.entity] if content.entities is UNSET else content.entities
        # A name that occurs twice has more quotation marks than the structs; without escapes, no string contains one.
        if b"\\" in body or body.count(b'"') != 2 + self._quotes * len(rows):
            return ()
        return tuple([row.key for row in rows])
