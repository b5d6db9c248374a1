"""The log of the service as JSON lines, each with the ids of the request that it belongs to."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from serving.signals.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.signals.trace import Trace

#: The logger of requests.
REQUESTS = logging.getLogger("panthera.requests")
_FIELDS = "panthera_fields"


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time (UTC), level, logger, message, ids of the request, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(CURRENT.get()),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _ids(trace: Trace | None) -> dict[str, str]:
    if trace is None:
        return {}
    return {"request_id": trace.request_id, "trace_id": trace.trace_id, "span_id": trace.span_id}


def log_as_json() -> None:
    """Send the log of this process to stderr as JSON lines, with a line for each request; replaces all handlers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.root.handlers = [handler]
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers, logger.propagate = [], True
    REQUESTS.setLevel(logging.INFO)


def log_request(fields: Mapping[str, Any]) -> None:
    """Log one completed request."""
    REQUESTS.info("request", extra={_FIELDS: fields})
