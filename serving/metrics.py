"""The Prometheus metrics of the service."""

from __future__ import annotations

import asyncio
from collections import Counter as Multiset
from collections import defaultdict
from contextlib import contextmanager
from functools import cache, partial
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from core.plan.times import WITHOUT_TIME
from serving.predict import Answer
from serving.signals.batched_histogram import BatchedHistogram
from serving.workers.worker_metrics import scrape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from serving.predict import Entry

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_STAGE_SECONDS = (0.00025, 0.0005, *_SECONDS)
_DAY = 86_400.0
_AGES = (60.0, 600.0, 3_600.0, 21_600.0, _DAY, *(days * _DAY for days in (2, 3, 7, 14, 30, 90, 365)))
_PROBABILITIES = tuple(round(0.05 * step, 2) for step in range(1, 21))
_POWERS = tuple(float(f"{digit}e{power}") for power in range(-2, 7) for digit in (1, 3))
#: Bounds of the scores of a regression, whose unit and range are those of its label.
_NUMBERS = (*(-bound for bound in reversed(_POWERS)), 0.0, *_POWERS)
#: The label of all unknown paths, so that clients cannot create series.
UNKNOWN_ROUTE = "unknown"
#: Scrapes within this time of the last one get the same text, which limits the cost of frequent scrapes.
_SECONDS_TO_CACHE = 0.2


class Meters:
    """The metrics of one process; with `folder`, `text` sums them over all workers that write to it.

    Durations, and what is counted for each entity, are collected and enter their metrics by `flush`: to add to a metric that
    workers share takes a lock and a write.
    """

    def __init__(self, folder: Path | None = None, problem: str = "binary") -> None:
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
        self._seconds = BatchedHistogram(
            "panthera_request_seconds",
            "Seconds from the first byte read to the response",
            ["route"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        # Looked up once: routes are templates, so there are few.
        self._request_counter = cache(self._requests.labels)
        self._answers = Counter(
            "panthera_answers", "Predictions by arm and release", ["arm", "release"], registry=self.registry
        )
        self._refused = Counter(
            "panthera_refused_entities", "Entities without a prediction by reason", ["code"], registry=self.registry
        )
        self._statuses = Counter(
            "panthera_feature_reads", "Rows read by view and freshness", ["view", "status"], registry=self.registry
        )
        self._stages = BatchedHistogram(
            "panthera_stage_seconds",
            "Seconds of each stage of answered predictions",
            ["stage"],
            registry=self.registry,
            buckets=_STAGE_SECONDS,
        )
        self._ages = BatchedHistogram(
            "panthera_feature_age_seconds",
            "Seconds from the event time of the row that was read to the instant of the request",
            ["view"],
            registry=self.registry,
            buckets=_AGES,
        )
        self._scores = BatchedHistogram(
            "panthera_score",
            "Scores of predictions by release",
            ["release"],
            registry=self.registry,
            buckets=_NUMBERS if problem == "regression" else _PROBABILITIES,
        )
        self._collected: dict[BatchedHistogram, dict[str, list[float]]] = {
            histogram: defaultdict(list) for histogram in (self._seconds, self._stages, self._ages, self._scores)
        }
        self._counted: dict[Counter, Multiset[tuple[str, ...]]] = {
            counter: Multiset() for counter in (self._answers, self._refused, self._statuses)
        }

    async def text(self) -> bytes:
        """Return all series in Prometheus's text format; a thread composes the text, once for concurrent scrapes."""
        self.flush()
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
        self._request_counter(route, status).inc()
        self._collected[self._seconds][route].append(seconds)

    def stages(self, began: float, ends: Iterable[tuple[str, float]]) -> None:
        """Collect the seconds of the stages of one answered prediction request, which began at `began`."""
        collected = self._collected[self._stages]
        for stage, ended in ends:
            collected[stage].append(ended - began)
            began = ended

    def entries(self, entries: Iterable[Entry]) -> None:
        """Count the entities of one completed request, by arm and release or by refusal, with their reads and scores."""
        answers, refused, statuses = (self._counted[each] for each in (self._answers, self._refused, self._statuses))
        scores, ages = self._collected[self._scores], self._collected[self._ages]
        for entry in entries:
            for view, read in entry.views.items():
                statuses[view, read.status] += 1
            if not isinstance(entry, Answer):
                refused[entry.code,] += 1
                continue
            prediction = entry.prediction
            answers[prediction.arm, prediction.release_id] += 1
            scores[prediction.release_id].append(prediction.score)
            for view in entry.views:
                event_time = prediction.event_times[view]
                if event_time is not None and event_time != WITHOUT_TIME:
                    ages[view].append((prediction.as_of - event_time).total_seconds())

    def flush(self) -> None:
        """Enter what was collected into the histograms and counters."""
        for histogram, collected in self._collected.items():
            for label, values in collected.items():
                histogram.labels(label).observe_all(values)
            collected.clear()
        for counter, counted in self._counted.items():
            for labels, count in counted.items():
                counter.labels(*labels).inc(count)
            counted.clear()
