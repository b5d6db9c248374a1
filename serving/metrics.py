"""The Prometheus metrics of the service."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.predict import Answer
from serving.workers.worker_metrics import scrape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from serving.predict import Entry

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: The label of all unknown paths, so that clients cannot create series.
UNKNOWN_ROUTE = "unknown"
#: Scrapes within this time of the last one get the same text, which limits the cost of frequent scrapes.
_SECONDS_TO_CACHE = 0.2


class Meters:
    """The metrics of one process; with `folder`, `text` sums them over all workers that write to it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self._scrape: Callable[[], bytes] = (
            partial(scrape, folder) if folder else partial(generate_latest, self.registry)
        )
        self._scraping = asyncio.Lock()
        self._text, self._text_until = b"", 0.0
        self._in_progress = Gauge(
            "panthera_requests_in_progress",
            "Requests in progress",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._requests = Counter(
            "panthera_requests", "Requests by route and HTTP status", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "panthera_request_seconds",
            "Seconds from the first byte read to the response",
            ["route"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._answers = Counter(
            "panthera_answers", "Predictions by arm and release", ["arm", "release"], registry=self.registry
        )
        self._refused = Counter(
            "panthera_refused_entities", "Entities without a prediction by reason", ["code"], registry=self.registry
        )
        self._statuses = Counter(
            "panthera_feature_reads", "Rows read by view and freshness", ["view", "status"], registry=self.registry
        )

    async def text(self) -> bytes:
        """Return all series in Prometheus's text format; a thread composes the text, once for concurrent scrapes."""
        async with self._scraping:
            if monotonic() >= self._text_until:
                self._text = await asyncio.to_thread(self._scrape)
                self._text_until = monotonic() + _SECONDS_TO_CACHE
        return self._text

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """Count a request as in progress for the length of the block."""
        self._in_progress.inc()
        try:
            yield
        finally:
            self._in_progress.dec()

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one completed request."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def entries(self, entries: Iterable[Entry]) -> None:
        """Count the entities of one completed request, by arm and release or by refusal, and their feature reads."""
        for entry in entries:
            if isinstance(entry, Answer):
                self._answers.labels(entry.prediction.arm, entry.prediction.release_id).inc()
            else:
                self._refused.labels(entry.code).inc()
            for view, read in entry.views.items():
                self._statuses.labels(view, read.status).inc()
