"""What each route does: decode, ask, log, respond."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from core.cohorts import compare, fetch_arms
from core.connection_pool import lent
from core.database import connect
from core.prediction_log import record_outcomes
from feature_repo.push import push
from serving import respond
from serving.decode import (
    check_content_type,
    decode_as_of,
    decode_features,
    decode_outcomes,
    decode_predict,
    decode_push,
    refuse_unknown,
)
from serving.predict import Answer, predict
from serving.problems import problem
from serving.refusals import Refusal, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from starlette.requests import Request
    from starlette.responses import Response

    from core.cohorts import Comparison
    from serving.metrics import Meters
    from serving.predict import Entry
    from serving.runtime import Ready, Runtime

_LONGEST_BODY = 2**20

_VIEWS = """
SELECT DISTINCT ON (online_table) view, online_table, as_of, rows_written, finished_at
FROM panthera.materialization WHERE online_table = ANY(%s::text[])
ORDER BY online_table, finished_at DESC
"""

_COUNTS = """
SELECT (SELECT count(*) FROM panthera.prediction), (SELECT count(*) FROM panthera.exposure),
       (SELECT count(*) FROM panthera.outcome)
"""


@dataclass(frozen=True)
class Endpoints:
    """The handlers of all routes, over one runtime; `clock` says what time it is."""

    runtime: Runtime
    meters: Meters
    clock: Callable[[], datetime]

    @property
    def _most(self) -> int:
        return self.runtime.plan.serve.max_entities

    async def predict(self, request: Request) -> Response:
        """POST /v1/predict."""
        now = self.clock()
        asked = decode_predict(await _json_body(request), self.runtime.key, self._most, now)
        ready = self.runtime.ready()
        facts = await ready.connections.facts.read(ready.active.handle, asked.keys, asked.as_of)
        entries = await predict(asked.keys, facts, ready.active, self.runtime.experiment, self.runtime.policy)
        await _log(ready, entries)
        self.meters.entries(entries)
        return self._predictions(entries, facts.as_of)

    def _predictions(self, entries: Sequence[Entry], as_of: datetime) -> Response:
        """Answer 200 if any entity has a prediction; if the policy refused all of them, 422 with the same list."""
        content = respond.predictions(entries, self.runtime.key, as_of)
        refused = [entry for entry in entries if not isinstance(entry, Answer)]
        if len(refused) < len(entries):
            return respond.json_response(content)
        message = f"none of the {len(entries)} entities has a prediction; the first one: {refused[0].message}"
        return problem(422, refused[0].code, message, extensions=content)

    async def features(self, request: Request) -> Response:
        """GET /v1/features."""
        now = self.clock()
        asked = decode_features(request.query_params.multi_items(), self.runtime.key, self._most, now)
        as_of, ready = asked.as_of or now, self.runtime.ready()
        async with lent(ready.connections.pool) as connection:
            reads = await ready.active.handle.read(connection, asked.keys, as_of)
        return respond.json_response(
            respond.features(asked.keys, reads, ready.active.champion, self.runtime.key, as_of)
        )

    async def outcomes(self, request: Request) -> Response:
        """POST /v1/outcomes."""
        outcomes = decode_outcomes(await _json_body(request), self.runtime.key, self.clock())
        receipt = await record_outcomes(self.runtime.connections.pool, outcomes)
        return respond.json_response({"stored": receipt.stored, "duplicates": receipt.duplicates})

    async def push(self, request: Request) -> Response:
        """POST /v1/features/push."""
        now = self.clock()
        view, rows = decode_push(await _json_body(request), self.runtime.views, now)
        receipt = await push(self.runtime.connections.pool, self.runtime.views[view], rows, now)
        return respond.json_response({"stored": receipt.stored, "duplicates": receipt.duplicates})

    async def cohorts(self, request: Request) -> Response:
        """GET /v1/cohorts."""
        now = self.clock()
        query = request.query_params.multi_items()
        refuse_unknown(query, ["as_of"])
        comparison = await asyncio.to_thread(
            self._compare, self.runtime.connections.url, decode_as_of(query, now) or now
        )
        return respond.json_response(comparison.to_dict())

    def _compare(self, url: str, as_of: datetime) -> Comparison:
        plan = self.runtime.plan
        with connect(url) as connection:
            arms = fetch_arms(connection, plan.serve.experiment, plan.label.horizon, as_of)
        return compare(arms, plan.serve.arms, plan.monitor.confidence, plan.monitor.sample_ratio_alarm)

    async def status(self, request: Request) -> Response:
        """GET /v1/status."""
        refuse_unknown(request.query_params.multi_items(), [])
        plan, active = self.runtime.plan, self.runtime.active
        return respond.json_response(
            {
                "version": _version(),
                "project": plan.project.name,
                "model": plan.register_.model,
                "experiment": {"name": plan.serve.experiment, "arms": dict(plan.serve.arms)},
                "releases": {
                    "champion": respond.release(active.champion if active else None),
                    "challenger": respond.release(active.challenger if active else None),
                },
                **await self._stored(),
                "problem": self.runtime.problem,
            }
        )

    async def _stored(self) -> dict[str, Any]:
        """Say what the database holds: the tables that the releases read, and how much is logged."""
        active = self.runtime.active
        tables = list(active.champion.logged_tables.values()) if active else []
        async with lent(self.runtime.connections.pool) as connection:
            views = await (await connection.execute(_VIEWS, [tables])).fetchall()
            counts = await (await connection.execute(_COUNTS)).fetchone() or (0, 0, 0)
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
            "counts": dict(zip(("predictions", "exposures", "outcomes"), counts, strict=True)),
        }


async def _log(ready: Ready, entries: Sequence[Entry]) -> None:
    """Return when every prediction of `entries` is committed."""
    answers = [entry for entry in entries if isinstance(entry, Answer)]
    if answers:
        exposures = [answer.exposure for answer in answers if answer.exposure]
        await ready.connections.log.append([answer.prediction for answer in answers], exposures)


async def _json_body(request: Request) -> bytes:
    check_content_type(request.headers.get("content-type"))
    if request.url.query:
        raise Refusal("found a query after the path; expected everything in the body")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_BODY:
            raise TooLarge(f"found a body of more than {_LONGEST_BODY} bytes; send several requests")
    return bytes(body)


def _version() -> str:
    try:
        return version("pantherapredict")
    except PackageNotFoundError:  # a checkout, or a bento, in which the package itself is not installed
        return "unknown"
