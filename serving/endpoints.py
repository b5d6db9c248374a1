"""The handlers of the routes: decode the request, read and predict, log, respond."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

from core.experiment.design import Design, compare_arms
from core.experiment.log_counts import count_log
from core.experiment.prediction_log import record_outcomes
from core.postgres.database import connect
from core.postgres.liveness import hung_up_after
from core.postgres.pool import lent
from feature_repo.online.push import push
from serving import respond
from serving.admission import Admission, seconds_to_answer
from serving.arrow_answers import is_asked_for, predictions_as_arrow
from serving.given import with_attributes, with_given
from serving.predict import Answer, explained, predict
from serving.signals.trace import lap
from serving.wire.decode import (
    MOST_EXPLAINED,
    decode_as_of,
    decode_features,
    decode_outcomes,
    decode_push,
    refuse_unknown,
)
from serving.wire.openapi import ARROW, code_version
from serving.wire.problems import problem_of
from serving.wire.refusals import NoPrediction, NotAvailable, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from starlette.requests import Request
    from starlette.responses import Response

    from core.experiment.cohorts import Comparison
    from serving.features import Facts
    from serving.metrics import Meters
    from serving.predict import Entry
    from serving.runtime import Ready, Runtime
    from serving.wire.bodies import Bodies
    from serving.wire.decode import EntitiesRequest

#: The newest run of each online table; an index makes the time independent of the number of runs.
_VIEWS = """
SELECT run.view, run.online_table, run.as_of, run.rows_written, run.finished_at
FROM unnest(%s::text[]) AS wanted (name)
CROSS JOIN LATERAL (
    SELECT * FROM panthera.present_run WHERE online_table = name ORDER BY finished_at DESC LIMIT 1
) AS run
ORDER BY run.online_table
"""
#: Server options for the statements of cohorts, and the limit of their total time.
_COHORTS = "-cstatement_timeout=30000 -clock_timeout=300"
_SECONDS_FOR_COHORTS = 31.0
#: After a wait of this length, it is checked whether the client is still connected.
_SECONDS_BEFORE_CHECK = 0.25


@dataclass(frozen=True)
class Endpoints:
    """The handlers of all routes.

    Attributes
    ----------
    clock : returns the current time.
    openapi : returns the body of the API description, by the names of the classes.
    comparing : one comparison of arms at a time; a million exposures take seconds.

    """

    runtime: Runtime
    meters: Meters
    clock: Callable[[], datetime]
    bodies: Bodies
    openapi: Callable[[tuple[str, ...]], bytes]
    comparing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    admission: Admission = field(default_factory=Admission)
    explanations: Admission = field(default_factory=lambda: Admission(MOST_EXPLAINED))

    @property
    def _max_entities(self) -> int:
        return self.runtime.plan.serve.max_entities

    async def predict(self, request: Request) -> Response:
        """POST /v1/predict."""
        now, decode = self.clock(), self.runtime.decode_predict
        decoded = await self.bodies.decoded(request, lambda body: decode(body, now))
        lap(request, "decode")
        ready, entities = self.runtime.ready(), len(decoded.keys)
        as_arrow = is_asked_for(request)
        if decoded.explain and as_arrow:
            raise Refusal("found explain in a request for an Arrow stream, which has no reasons; ask for JSON")
        seconds = seconds_to_answer(self.runtime.settings.deadline, entities)
        try:
            with self._explaining(decoded, seconds), self.admission.admitted(entities, seconds):
                async with asyncio.timeout(seconds):
                    facts, entries = await self._answer(request, ready, decoded)
        except TimeoutError:
            raise NotAvailable(
                f"the service is busy, or its database does not answer: no answer within {seconds:g} s; try again later"
            ) from None
        self.meters.entries(entries)
        if as_arrow and any(isinstance(entry, Answer) for entry in entries):
            stream = await asyncio.to_thread(predictions_as_arrow, entries, self.runtime.key, facts)
            return respond.BodyResponse(stream, ARROW.encode())
        return self._predictions(entries, facts)

    def _explaining(self, decoded: EntitiesRequest, seconds: float) -> AbstractContextManager[None]:
        """Admit a request for reasons, which is refused earlier than one for predictions alone."""
        if not decoded.explain:
            return nullcontext()
        self.admission.refuse_if_busy()
        return self.explanations.admitted(len(decoded.keys), seconds)

    async def _answer(self, request: Request, ready: Ready, decoded: EntitiesRequest) -> tuple[Facts, list[Entry]]:
        """Read features, predict, and return once every prediction is committed to the log."""
        began = perf_counter()
        facts = await ready.connections.facts.read(ready.active.handle, decoded.keys, decoded.as_of)
        if perf_counter() - began > _SECONDS_BEFORE_CHECK and await request.is_disconnected():
            raise ClientDisconnect
        lap(request, "features")
        facts = with_attributes(with_given(facts, decoded.given, ready.active), decoded.attributes)
        entries = await predict(decoded.keys, facts, ready.active, ready.experiment, self.runtime.policy)
        if decoded.explain:
            entries = await explained(entries, ready.active)
        lap(request, "predict")
        await _log(ready, entries)
        lap(request, "log")
        return facts, entries

    def _predictions(self, entries: Sequence[Entry], facts: Facts) -> Response:
        """Return status 200 if any entity has a prediction; if all were refused, 422 with the same list."""
        content = respond.predictions(entries, self.runtime.key, facts)
        refused = [entry for entry in entries if not isinstance(entry, Answer)]
        if len(refused) < len(entries):
            return respond.json_response(content)
        message = f"none of the {len(entries)} entities has a prediction; the first one: {refused[0].message}"
        return problem_of(NoPrediction(message, refused[0].code), extensions=content)

    async def features(self, request: Request) -> Response:
        """GET /v1/features."""
        now = self.clock()
        decoded = decode_features(request.query_params.multi_items(), self.runtime.key, self._max_entities, now)
        as_of, ready = decoded.as_of or now, self.runtime.ready()
        async with lent(ready.connections.intake) as connection:
            reads = await ready.active.handle.read(connection, decoded.keys, as_of)
        return respond.json_response(
            respond.features(decoded.keys, reads, ready.active.champion, self.runtime.key, as_of)
        )

    async def outcomes(self, request: Request) -> Response:
        """POST /v1/outcomes."""
        now, key = self.clock(), self.runtime.key
        classes, names = self.runtime.class_numbers, self.runtime.plan.monitor.outcome_names
        outcomes = await self.bodies.decoded(request, lambda body: decode_outcomes(body, key, now, classes, names))
        receipt = await record_outcomes(self.runtime.connections.intake, outcomes, self.runtime.plan.register_.model)
        return respond.json_response({"stored": receipt.stored, "duplicates": receipt.duplicates})

    async def push(self, request: Request) -> Response:
        """POST /v1/features/push."""
        now, views = self.clock(), self.runtime.views
        view, rows = await self.bodies.decoded(request, lambda body: decode_push(body, views, now))
        receipt = await push(self.runtime.connections.intake, self.runtime.tables_of(view), rows, now)
        return respond.json_response({"stored": receipt.stored, "duplicates": receipt.duplicates})

    async def cohorts(self, request: Request) -> Response:
        """GET /v1/cohorts."""
        now = self.clock()
        query = request.query_params.multi_items()
        refuse_unknown(query, ["as_of"])
        as_of = decode_as_of(query, now) or now
        connections = self.runtime.connections
        async with lent(connections.administration):
            pass  # a server that does not respond is noticed here within a second
        try:
            await asyncio.wait_for(self.comparing.acquire(), _SECONDS_FOR_COHORTS)
        except TimeoutError:
            raise NotAvailable("the service is comparing the arms for another request; try again later") from None
        try:
            comparison = await asyncio.to_thread(self._compare, connections.url, as_of)
        finally:
            self.comparing.release()
        return respond.json_response(comparison.to_dict())

    def _compare(self, url: str, as_of: datetime) -> Comparison:
        with connect(url, _COHORTS) as connection, hung_up_after(connection, _SECONDS_FOR_COHORTS):
            return compare_arms(connection, Design.of(self.runtime.plan), as_of)

    async def ready(self, _: Request) -> Response:
        """GET /readyz."""
        fault = await self.runtime.readiness.fault()
        if fault:
            raise NotAvailable(fault)
        return respond.json_response({"ready": True, "problem": self.runtime.fault})

    async def status(self, request: Request) -> Response:
        """GET /v1/status."""
        refuse_unknown(request.query_params.multi_items(), [])
        plan, active = self.runtime.plan, self.runtime.active
        return respond.json_response(
            {
                "version": code_version(),
                "project": plan.project.name,
                "model": plan.register_.model,
                "experiment": {"name": self.runtime.experiment.name, "arms": dict(plan.serve.arms)},
                "releases": {
                    "champion": respond.release(active.champion if active else None),
                    "challenger": respond.release(active.challenger if active else None),
                },
                "appointed": self.runtime.appointed,
                **await self._stored(),
                "unfilled": [table.to_dict() for table in self.runtime.upkeep.unfilled],
                "problem": self.runtime.fault,
            }
        )

    async def _stored(self) -> dict[str, Any]:
        """Fetch the newest runs of the online tables that the releases read, and the row counts of the log."""
        active = self.runtime.active
        tables = list(active.champion.logged_tables.values()) if active else []
        async with lent(self.runtime.connections.administration) as connection:
            views = await (await connection.execute(_VIEWS, [tables])).fetchall()
            counts = await count_log(connection)
        return {
            "views": [
                {
                    "view": view,
                    "online_table": table,
                    "as_of": respond.instant(as_of),
                    "rows": rows,
                    "finished_at": respond.instant(finished_at),
                }
                for view, table, as_of, rows, finished_at in views
            ],
            "counts": {name: count.rows for name, count in counts.items()},
            "estimated": [name for name, count in counts.items() if count.is_estimate],
        }

    async def alive(self, _: Request) -> Response:
        """GET /livez and /healthz."""
        return respond.json_response({"alive": True})

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        return PlainTextResponse(await self.meters.text(), media_type=CONTENT_TYPE_LATEST)

    async def description(self, _: Request) -> Response:
        """GET /openapi.json and /docs.json."""
        return respond.BodyResponse(self.openapi(tuple(self.runtime.class_numbers)))


async def _log(ready: Ready, entries: Sequence[Entry]) -> None:
    """Write the predictions and exposures of `entries` to the log; return once they are committed."""
    answers = [entry for entry in entries if isinstance(entry, Answer)]
    if answers:
        exposures = [answer.exposure for answer in answers if answer.exposure]
        await ready.connections.log.append([answer.prediction for answer in answers], exposures)
