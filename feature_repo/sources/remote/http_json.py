"""Records of web APIs: downloaded page by page, and read like a file of JSON objects."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.errors import SourceError
from feature_repo.sources.addresses import without_secrets
from feature_repo.sources.formats.json_objects import objects_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import duckdb
    import httpx

    from core.plan.rows.remote_readers import HttpJsonReader, Paging
    from feature_repo.sources.parts import Part

_SECONDS = 30.0
#: Pause before the second try, in seconds; each further one is twice as long.
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_AGAIN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT})
_REMEDIES = {
    HTTPStatus.UNAUTHORIZED: "correct the values of headers_env or parameters_env in the environment",
    HTTPStatus.FORBIDDEN: "correct the values of headers_env or parameters_env in the environment",
    HTTPStatus.NOT_FOUND: "correct the reader's url",
    HTTPStatus.GONE: "correct the reader's url",
    HTTPStatus.BAD_REQUEST: "correct the reader's parameters or paging",
}


def http_json_part(reader: HttpJsonReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> Part:
    """Download all pages to `scratch`; return the records as a part.

    Raises
    ------
    SourceError
        If a page cannot be fetched, is no JSON, has no records where the plan expects them, or there are too many pages.

    """
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / f"records-{len(list(scratch.glob('records-*')))}.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for page in _pages(reader):
            out.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in page)
    if not file.stat().st_size:
        raise SourceError(
            f"{without_secrets(reader.url)} has no record at {reader.records or 'the top'!r}; expected at least one: correct "
            "the reader's records or parameters"
        )
    return objects_part([file], without_secrets(reader.url), connection)


@dataclass(frozen=True)
class _Page:
    """A response: its document, the records in it, and the URL in its header `Link`."""

    document: Any
    records: list[dict[str, Any]]
    link: str | None


def _pages(reader: HttpJsonReader) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of each page."""
    import httpx

    secret, headers = _from_environment(reader.parameters_env), _from_environment(reader.headers_env)
    url = httpx.URL(reader.url).copy_merge_params({**reader.parameters, **secret, **_first(reader.paging)})
    before: list[dict[str, Any]] | None = None
    with httpx.Client(timeout=_SECONDS, headers={"Accept": "application/json", **headers}) as client:
        for number in range(1, reader.max_pages + 1):
            page = _page(client, url, reader, may_be_gone=_is_short(before, reader.paging))
            if page is None:
                return
            if page.records and page.records == before:
                raise SourceError(
                    f"{without_secrets(reader.url)} answers page {number} with the records of the page before; it may not know "
                    "the parameter of paging: correct the reader's paging"
                )
            yield page.records
            following = _following(url, page, reader.paging)
            if following is None:
                return
            url, before = _same_server(following, reader).copy_merge_params(secret), page.records
    raise SourceError(
        f"{without_secrets(reader.url)} has more than {reader.max_pages:,} pages; expected an end: raise max_pages, or correct "
        "the reader's paging"
    )


def _is_short(records: Sequence[object] | None, paging: Paging | None) -> bool:
    """Return whether a page has fewer records than a full one, so that there may be no further page.

    That alone does not end the answer: a server may allow fewer records than were asked for.
    """
    return records is not None and paging is not None and paging.size is not None and len(records) < paging.size


def _from_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the values of environment variables, by the name of the parameter or header that needs them."""
    for name, variable in variables.items():
        if not os.environ.get(variable):
            raise SourceError(f"the environment variable {variable} is not set; set it to the value of {name}")
    return {name: os.environ[variable] for name, variable in variables.items()}


def _first(paging: Paging | None) -> dict[str, Any]:
    """Return the parameters of the first page."""
    if paging is None:
        return {}
    size = {paging.size_parameter: paging.size} if paging.size_parameter else {}
    if paging.by not in {"page", "offset"}:
        return size
    first = paging.first if paging.first is not None else int(paging.by == "page")
    return {**size, paging.parameter or paging.by: first}


def _following(url: httpx.URL, page: _Page, paging: Paging | None) -> httpx.URL | None:
    """Return the URL of the page after `page`, whose own URL is `url`; None after the last page."""
    if paging is None:
        return None
    if paging.by == "link":
        return url.join(page.link) if page.link else None
    if paging.by == "cursor":
        return _after_cursor(url, _at(page.document, paging.next or ""), paging)
    if not page.records:
        return None
    name = paging.parameter or paging.by
    return url.copy_set_param(name, int(url.params[name]) + (1 if paging.by == "page" else len(page.records)))


def _after_cursor(url: httpx.URL, cursor: object, paging: Paging) -> httpx.URL | None:
    """Return the URL of the page that a cursor names; the cursor may itself be a URL."""
    if cursor is None or cursor == "" or cursor is False:
        return None
    text = str(cursor)
    # A cursor in base64 may begin with a slash and has no question mark.
    if text.startswith(("http://", "https://")) or (text.startswith(("/", "?")) and "?" in text):
        return url.join(text)
    return url.copy_set_param(paging.parameter or paging.by, text)


def _same_server(url: httpx.URL, reader: HttpJsonReader) -> httpx.URL:
    """Raise SourceError for a URL on another server, which must not receive the headers."""
    if (url.scheme, url.netloc.decode()) != urlsplit(reader.url)[:2]:
        raise SourceError(
            f"{without_secrets(reader.url)} names a next page on another server, {url.host}; expected its own: correct the "
            "reader's paging"
        )
    return url


def _page(client: httpx.Client, url: httpx.URL, reader: HttpJsonReader, *, may_be_gone: bool) -> _Page | None:
    """Fetch a page; None if there is none where the one before may have been the last."""
    response = _answer(client, url, reader.tries)
    if may_be_gone and response.status_code == HTTPStatus.NOT_FOUND:
        return None
    where = without_secrets(str(url))
    if not response.is_success:
        remedy = _REMEDIES.get(HTTPStatus(response.status_code), "try again later, or correct the reader's url")
        raise SourceError(f"{where} answers {response.status_code} {response.reason_phrase}; {remedy}")
    try:
        document = json.loads(response.content, parse_constant=_refuse_constant)
    except ValueError as error:
        raise SourceError(
            f"{where} does not answer with JSON ({error}); expected JSON: correct the reader's url"
        ) from None
    return _Page(document, _records(document, reader, where), response.links.get("next", {}).get("url"))


def _refuse_constant(text: str) -> None:
    raise ValueError(f"it holds {text}")


def _records(document: Any, reader: HttpJsonReader, where: str) -> list[dict[str, Any]]:
    records = _at(document, reader.records)
    if isinstance(records, list) and all(isinstance(record, dict) for record in records):
        return records
    found = f"it has the keys {', '.join(document)}" if isinstance(document, dict) else f"it is {_kind(document)}"
    raise SourceError(
        f"{where} has {_kind(records)} at {reader.records or 'the top'!r}, expected an array of objects; {found}: correct the "
        "reader's records"
    )


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")


def _at(document: Any, pointer: str) -> Any:
    """Return the value at a JSON pointer (RFC 6901); None if there is none."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list) and key.isdecimal() and int(key) < len(document):
            document = document[int(key)]
        elif isinstance(document, dict):
            document = document.get(key)
        else:
            return None
    return document


def _answer(client: httpx.Client, url: httpx.URL, tries: int) -> httpx.Response:
    """Fetch a page; retry after a pause if the server is busy, fails or does not answer."""
    import httpx

    for number in range(1, tries + 1):
        try:
            response = client.get(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if number == tries or not isinstance(error, httpx.TransportError):
                reason = " ".join(str(error).split()) or type(error).__name__
                raise SourceError(
                    f"{without_secrets(str(url))} cannot be fetched ({reason}); try again, or correct the reader's url"
                ) from None
            stated: Mapping[str, str] = {}
        else:
            if number == tries or not (response.is_server_error or response.status_code in _AGAIN):
                break
            stated = response.headers
        time.sleep(_pause(number, stated.get("retry-after")))
    return response


def _pause(number: int, stated: str | None) -> float:
    """Return the seconds before the next attempt: those that the server states, or twice those of the attempt before."""
    seconds = float(stated) if stated and stated.isdecimal() else _PAUSE * 2 ** (number - 1)
    return min(seconds, _LONGEST_PAUSE)
