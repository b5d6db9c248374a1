"""`panthera demo`: the whole loop once, on the plan's own data, over HTTP, with what it found in `.panthera/demo.json`."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import PantheraError
from core.files import write_whole
from core.plan.times import Period
from core.postgres.database import connect, running_database
from core.terminal import print_whole, terminal_table
from models.data.labels import labelled_entities
from models.evaluation.evaluation import read_evaluation
from panthera.pipeline import reproduce
from panthera.service_client import ServiceClient, Told
from panthera.service_process import running_service
from panthera.verb import DATA, REPORT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from core.contracts import Key
    from core.experiment.cohorts import Comparison
    from core.plan.plan import Plan
    from core.settings import Settings
    from monitoring.drift import DriftResult
    from monitoring.parity import ParityResult


@dataclass(frozen=True)
class Scored:
    """What the service said of the entities it was asked about."""

    asked: int
    acknowledged: tuple[str, ...]
    by_arm: dict[str, int]


class Progress:
    """Numbers the steps, and says how long each took."""

    def __init__(self, steps: int) -> None:
        self._steps, self._step = steps, 0
        self._started = self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def begin(self, text: str) -> None:
        """Announce the next step."""
        self._step, self._since = self._step + 1, time.monotonic()
        print(f"[{self._step}/{self._steps}] {text}", flush=True)

    def say(self, text: str) -> None:
        """Tell how the present step goes."""
        print(f"      {text} ({time.monotonic() - self._since:.1f} s)", flush=True)


def score(
    client: ServiceClient, entities: Sequence[Key], as_of: datetime, progress: Progress, say_every: int
) -> Scored:
    """Ask the service about all `entities`; say how far it is after every `say_every` that were scored."""
    acknowledged: list[str] = []
    by_arm = Counter[str]()
    for answer in client.predict(entities, as_of):
        if "prediction_id" in answer:
            acknowledged.append(answer["prediction_id"])
            by_arm[answer["arm"]] += 1
            if len(acknowledged) % say_every == 0:
                progress.say(f"{len(acknowledged):,} of {len(entities):,} scored")
    return Scored(len(entities), tuple(acknowledged), dict(by_arm))


def send_outcomes(
    client: ServiceClient, key: str, labels: Sequence[tuple[Key, int]], as_of: datetime, observed_at: datetime
) -> int:
    """Tell the service what became of each entity; return how many outcomes it now has, new ones and known ones."""
    told = [Told(f"{key}={entity}@{as_of.isoformat()}", entity, observed_at, label) for entity, label in labels]
    receipt = client.tell(told)
    return receipt.stored + receipt.duplicates


def count_stored(url: str, prediction_ids: Sequence[str | UUID]) -> int:
    """Count which of the acknowledged predictions are in the log."""
    with connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM panthera.prediction WHERE prediction_id = ANY(%s::uuid[])", [list(prediction_ids)]
        ).fetchone()
    return int(row[0]) if row else 0


def run_demo(settings: Settings, plan: Plan) -> None:
    """Run the loop, write `.panthera/demo.json`, print the summary; stop what was started here."""
    from monitoring.verbs import expose_verb

    progress = Progress(steps=7)
    with ExitStack() as cleanup:
        progress.begin("start the database")
        url = cleanup.enter_context(running_database(settings))
        progress.say("PostgreSQL answers")

        progress.begin("dvc repro: from the source to registered and materialized releases")
        reproduce(settings, plan, DATA)
        progress.say("reproduced")

        as_of, size = plan.materialize.as_of, plan.serve.max_entities
        labels = _labels(plan, as_of)
        progress.begin(f"bentoml serve, and score {len(labels):,} entities as of {as_of:%Y-%m-%d} over HTTP")
        with (
            running_service(settings.state) as address,
            closing(ServiceClient(address, plan.unit.key, size)) as client,
        ):
            progress.say(f"the service is ready at {address}")
            scored = score(client, [entity for entity, _ in labels], as_of, progress, 5 * size)
            stored = count_stored(url, scored.acknowledged)
            progress.say(f"{len(scored.acknowledged):,} answers acknowledged, {stored:,} of them in the log")
            exposed = expose_verb(settings, plan, as_of=as_of, why="the demo replays history")
            progress.say(f"{exposed.exposures:,} of these replays counted as exposures of {as_of:%Y-%m-%d}")

            closed = as_of + plan.label.horizon
            progress.begin(f"send what happened until {closed:%Y-%m-%d}")
            outcomes = send_outcomes(client, plan.unit.key, labels, as_of, closed)
            progress.say(f"{outcomes:,} outcomes taken")
        progress.begin("drift")
        drift, parity, cohorts = _monitor(settings, plan, closed, progress)
    found = _summary(plan, scored, stored, outcomes, drift, parity, cohorts)
    target = settings.state / "demo.json"
    write_whole(target, json.dumps({**found, "seconds": round(progress.seconds, 1)}, indent=2) + "\n")
    _print_summary(found, plan, progress.seconds, target)


def _labels(plan: Plan, as_of: datetime) -> list[tuple[Key, int]]:
    """List the entities that were active at `as_of`, with what really became of them."""
    source = plan.ingest[plan.label.source]
    if as_of + plan.label.horizon > source.observed_until:
        raise PantheraError(
            f"the demo plays the outcomes after materialize.as_of ({as_of:%Y-%m-%d}), but the label window of "
            f"{plan.label.horizon.days} days closes after ingest.{plan.label.source}.observed_until "
            f"({source.observed_until:%Y-%m-%d}); choose an earlier materialize.as_of"
        )
    table = labelled_entities(DATA / "accepted", plan.label, plan.unit, Period(start=as_of, end=as_of), "1 day")
    return list(zip(table.column(plan.unit.key).to_pylist(), table.column("label").to_pylist(), strict=True))


def _monitor(
    settings: Settings, plan: Plan, as_of: datetime, progress: Progress
) -> tuple[DriftResult, ParityResult, Comparison]:
    from monitoring.verbs import cohorts_verb, drift_verb, parity_verb

    drift = drift_verb(settings, plan, report=REPORT)
    progress.say(drift.summary)
    progress.begin("parity: recompute served vectors offline")
    parity = parity_verb(settings, plan, data=DATA)
    progress.say(f"{parity.values_compared:,} values compared, {parity.defects} defects")
    progress.begin("cohorts")
    cohorts = cohorts_verb(settings, plan, as_of=as_of)
    progress.say(cohorts.verdict)
    return drift, parity, cohorts


def _summary(
    plan: Plan,
    scored: Scored,
    stored: int,
    outcomes: int,
    drift: DriftResult,
    parity: ParityResult,
    cohorts: Comparison,
) -> dict[str, Any]:
    evaluation = read_evaluation(DATA / "evaluation.json")
    champion = evaluation.results[0]
    compared = cohorts.to_dict()
    return {
        "format_version": 1,
        "project": plan.project.name,
        "champion": drift.release_id,
        "test_auc": champion.test.get("roc_auc"),
        "baseline_auc": evaluation.result(evaluation.baseline).test.get("roc_auc"),
        "test": {result.candidate: result.test for result in evaluation.results},
        "predictions": scored.asked,
        "acknowledged": len(scored.acknowledged),
        "stored": stored,
        "by_arm": scored.by_arm,
        "outcomes": outcomes,
        "parity_compared": parity.values_compared,
        "parity_mismatches": sum(parity.mismatches.values()) + parity.score_mismatches,
        "psi": {column.name: column.psi for column in drift.columns},
        "drift": {"summary": drift.summary, "expected": list(drift.reasons)},
        "cohorts": compared,
        "sample_ratio_p": compared["sample_ratio_p"],
    }


def _print_summary(found: dict[str, Any], plan: Plan, seconds: float, target: Path) -> None:
    cohorts, worst = found["cohorts"], max(found["psi"], key=found["psi"].get)
    table = terminal_table("what", "result", title=f"{plan.project.name}: {plan.project.statement}")
    table.add_row("champion", f"{found['champion']}")
    for candidate, measured in found["test"].items():
        table.add_row(f"test: {candidate}", ", ".join(f"{name} {value:.4f}" for name, value in measured.items()))
    table.add_row("predictions", f"{found['acknowledged']:,} acknowledged, {found['stored']:,} stored")
    table.add_row("outcomes", f"{found['outcomes']:,}")
    table.add_row("parity", f"{found['parity_compared']:,} values compared, {found['parity_mismatches']} differ")
    table.add_row("drift", f"{found['drift']['summary']}; largest PSI {found['psi'][worst]:.3f} ({worst})")
    for reason in found["drift"]["expected"]:
        table.add_row("expected drift", reason)
    for arm, counts in cohorts["arms"].items():
        rate = "no rate yet" if counts["rate"] is None else f"rate {counts['rate']:.4f}"
        table.add_row(f"cohort: {arm}", f"{counts['with_outcome']:,} mature with outcome, {rate}")
    if cohorts["difference"] is not None:
        interval = f"{cohorts['ci_lower']:+.4f} to {cohorts['ci_upper']:+.4f}"
        table.add_row("difference", f"{cohorts['difference']:+.4f} ({interval}): {cohorts['verdict']}")
    table.add_row("time", f"{seconds:.0f} s")
    print_whole(table)
    print(f"Results: {target}\nDrift report: {REPORT.absolute()}\nNext, with `. .venv/bin/activate`:")
    key = plan.unit.key
    for command in (
        f"cd {shlex.quote(str(Path.cwd()))}",
        "panthera up && bentoml serve serving.service:PredictionService",
        f"curl -s localhost:3000/v1/predict -H 'content-type: application/json' -d '{{\"entities\": [{{\"{key}\": 1}}]}}'",
        f"panthera cohorts --as-of {cohorts['as_of'][:10]}",
        "panthera parity",
        "dvc status    # after a change of params.yaml; then `dvc repro`",
    ):
        print(f"  {command}")
