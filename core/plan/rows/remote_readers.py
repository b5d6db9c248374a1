"""Readers of lake tables (Delta, Iceberg), and of web APIs that return JSON."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.plan.rows.rows_reader import RowsReader
from core.plan.section import Section

#: A JSON pointer (RFC 6901): `/data/items`, or the empty text for the whole document.
Pointer = Annotated[str, Field(pattern=r"^(/.*)?$")]
_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class DeltaReader(RowsReader):
    """A Delta Lake table; it needs the extra `delta`."""

    kind: Literal["delta"]
    path: str
    """Folder of the table, relative to the project folder or in a store at `s3://`, `gs://` or `az://`."""
    version: Annotated[int, Field(ge=0)] | None = None
    """Version that is read; without it: the latest."""

    @model_validator(mode="after")
    def _names_nobody(self) -> Self:
        _refuse_user(self.path)
        return self


class IcebergReader(RowsReader):
    """An Iceberg table; it needs the extra `iceberg`.

    The environment says where its catalog is, by PyIceberg's variables: `PYICEBERG_CATALOG__DEFAULT__URI` and others.
    """

    kind: Literal["iceberg"]
    table: Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)+$")]
    """Name of the table with its namespace, such as `shop.orders`."""
    catalog: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "default"
    """Name of the catalog in the environment."""
    snapshot: int | None = None
    """Number of the snapshot that is read; without it: the current one."""


class Paging(Section):
    """How the pages of a web API are requested, one after another."""

    by: Literal["page", "offset", "cursor", "link"]
    """What selects a page: its number, the number of its first record, a cursor in the page before, or its header `Link`."""
    parameter: str | None = None
    """Parameter of the URL with that value; without it: `page`, `offset` or `cursor`."""
    first: Annotated[int, Field(ge=0)] | None = None
    """Number of the first page (default 1), or offset of the first record (default 0)."""
    size: Annotated[int, Field(ge=1)] | None = None
    """Number of records in a full page; HTTP 404 after a page with fewer is an end. An empty page always is."""
    size_parameter: str | None = None
    """Parameter of the URL with `size`, such as `limit`."""
    next: Pointer | None = None
    """JSON pointer to the cursor or the URL of the next page; after the last page it is absent, null or empty."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if (self.by == "cursor") != (self.next is not None):
            raise ValueError("next is the JSON pointer to the cursor of the next page; it goes with by: cursor")
        if self.first is not None and self.by not in {"page", "offset"}:
            raise ValueError(f"first goes with by: page or by: offset, found by: {self.by}")
        if self.parameter is not None and self.by == "link":
            raise ValueError("by: link has no parameter, since the header holds the address of the next page")
        if self.size_parameter is not None and self.size is None:
            raise ValueError("size_parameter needs size, the number of records of a page")
        return self


class HttpJsonReader(RowsReader):
    """The records that a web API returns as JSON, in one page or several."""

    kind: Literal["http_json"]
    url: Annotated[str, Field(pattern=r"^https?://")]
    """URL of the first page."""
    records: Pointer = ""
    """JSON pointer to the array of records in a response, such as `/data/items`; without it: the response is the array."""
    parameters: dict[str, str | int] = Field(default_factory=dict)
    """Parameters of the URL."""
    parameters_env: dict[str, _Variable] = Field(default_factory=dict)
    """Environment variables with the values of secret parameters, by the parameter."""
    headers_env: dict[str, _Variable] = Field(default_factory=dict)
    """Environment variables with the values of headers, by the header: `{Authorization: SHOP_TOKEN}`."""
    paging: Paging | None = None
    """How further pages are requested; without it, there is one page."""
    max_pages: Annotated[int, Field(ge=1)] = 10_000
    """Largest number of pages; a source with more is refused, since it may never end."""
    tries: Annotated[int, Field(ge=1, le=20)] = 5
    """Attempts for a page with the status 429 or 5xx or without a response; pauses double from one second on."""

    @model_validator(mode="after")
    def _names_nobody(self) -> Self:
        _refuse_user(self.url)
        return self


def _refuse_user(address: str) -> None:
    if re.match(r"[a-z0-9]+://[^/]*@", address):
        raise ValueError("the address names a user or a password, which no plan may hold; set them in the environment")
