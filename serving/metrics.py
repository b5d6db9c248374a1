"""What Prometheus is told about the service, beside what BentoML tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram

from serving.predict import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serving.predict import Entry

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Meters:
    """The series of one process.

    They have a registry of their own. Under `bentoml serve` Prometheus's client runs in its multiprocess mode, where
    `/metrics` sums what every worker wrote to files, whatever the registry.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def entries(self, entries: Iterable[Entry]) -> None:
        """Count the entities of one answered request."""
        for entry in entries:
            if isinstance(entry, Answer):
                self._answers.labels(entry.prediction.arm, entry.prediction.release_id).inc()
            else:
                self._refused.labels(entry.code).inc()
            for view, read in entry.views.items():
                self._statuses.labels(view, read.status).inc()
