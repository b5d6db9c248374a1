"""Post the JSON of a round to a webhook; a failure is told and never stops a round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = 5.0
_FIRST_ERROR = 400


def post_alert(url: str, content: Mapping[str, Any]) -> str | None:
    """Post `content` as JSON; return why that failed, or None. The message names the host alone: a URL may hold a secret."""
    host = _host(url)
    if host is None:
        return "the webhook's address is not a URL with http or https and a host; correct it"
    try:
        response = httpx.post(url, json=dict(content), timeout=_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return f"the webhook at {host} could not be reached ({type(error).__name__})"
    if response.status_code >= _FIRST_ERROR or response.is_redirect:
        return f"the webhook at {host} answered with status {response.status_code}"
    return None


def _host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.hostname if parts.scheme in {"http", "https"} else None
