"""Alerts of a round by webhook, e-mail and a file of metrics; a failure stops neither the round nor another alert."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from monitoring.rounds.mail import mail_alert
from monitoring.rounds.metrics_file import write_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from monitoring.rounds.mail import MailSettings
    from monitoring.rounds.run import Round

_SECONDS = 5.0
_FIRST_ERROR = 400


@dataclass(frozen=True)
class Channels:
    """Where a round is told; None tells it not there.

    Attributes
    ----------
    webhook : URL to post a round to that is not `hold`.
    mail : where a round is mailed that is not `hold`.
    metrics : file for the metrics of every round.

    """

    webhook: str | None = field(default=None, repr=False)
    mail: MailSettings | None = None
    metrics: Path | None = None


def send_alerts(done: Round, model: str, channels: Channels) -> str | None:
    """Tell a round by every channel that is due; return why some could not be used, or None."""
    problems: dict[str, str | None] = {}
    if done.needs_attention and channels.webhook:
        problems["webhook"] = post_alert(channels.webhook, done.to_dict())
    if done.needs_attention and channels.mail:
        subject = f"{model}: {done.decided.decision}"
        problems["mail"] = mail_alert(channels.mail, subject, _text(done, model), json.dumps(done.to_dict(), indent=1))
    if channels.metrics:
        failures = {channel: problem is not None for channel, problem in problems.items()}
        assert done.window.end is not None, "a round has an instant"
        problems["metrics"] = write_metrics(
            channels.metrics, model, done.window.end, done.decided.decision, done.findings, failures
        )
    return "; ".join(filter(None, problems.values())) or None


def _text(done: Round, model: str) -> str:
    """Return the round as the text of a mail."""
    reasons = "\n".join(f"- {reason}" for reason in done.decided.reasons)
    after = "\n".join(
        f"{name}: {text}" for name, text in (("Next", done.next_step), ("Not done", done.act_problem)) if text
    )
    return f"Model {model}, window {done.window}: {done.decided.decision}\n\n{reasons}\n\n{after}\n"


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
