"""`panthera demo`: run the whole loop once on the plan's own data, over HTTP; write the results to `.panthera/demo.json`."""

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
from core.plan.times import Period, in_units
from core.postgres.database import connect, running_database
from core.terminal import print_whole, terminal_table
from models.data.labels import labelled_entities
from models.evaluation.evaluation import read_evaluation
from panthera.pipeline import reproduce
from panthera.service.client import SentOutcome, ServiceClient
from panthera.service.process import running_service
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
class DemoPredictions:
    """The predictions of the service: the number of entities requested, the prediction ids returned, the counts by arm."""

    requested: int
    acknowledged: tuple[str, ...]
    by_arm: dict[str, int]


class Progress:
    """Prints the steps with numbers, and their durations."""

    def __init__(self, steps: int) -> None:
        self._steps, self._step = steps, 0
        self._started = self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def begin(self, text: str) -> None:
        """Print the start of the next step."""
        self._step, self._since = self._step + 1, time.monotonic()
        print(f"[{self._step}/{self._steps}] {text}", flush=True)

    def report(self, text: str) -> None:
        """Print a result of the current step, with the seconds since its start."""
        print(f"      {text} ({time.monotonic() - self._since:.1f} s)", flush=True)


def score(
    client: ServiceClient, entities: Sequence[Key], as_of: datetime, progress: Progress, report_every: int
) -> DemoPredictions:
    """Request predictions for all `entities` and return their summary; report progress after every `report_every`."""
    acknowledged: list[str] = []
    by_arm = Counter[str]()
    for answer in client.predict(entities, as_of):
        if "prediction_id" in answer:
            acknowledged.append(answer["prediction_id"])
            by_arm[answer["arm"]] += 1
            if len(acknowledged) % report_every == 0:
                progress.report(f"{len(acknowledged):,} of {len(entities):,} scored")
    return DemoPredictions(len(entities), tuple(acknowledged), dict(by_arm))


def send_outcomes(
    client: ServiceClient, key: str, labels: Sequence[tuple[Key, int]], as_of: datetime, observed_at: datetime
) -> int:
    """Send the label of each entity as its outcome; return the number of outcomes stored, now or before."""
    outcomes = [
        SentOutcome(f"{key}={entity}@{as_of.isoformat()}", entity, observed_at, label) for entity, label in labels
    ]
    receipt = client.send_outcomes(outcomes)
    return receipt.stored + receipt.duplicates


def count_stored(url: str, prediction_ids: Sequence[str | UUID]) -> int:
    """Fetch the number of these predictions that are in the log."""
    with connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM panthera.prediction WHERE prediction_id = ANY(%s::uuid[])", [list(prediction_ids)]
        ).fetchone()
    return int(row[0]) if row else 0


def run_demo(settings: Settings, plan: Plan) -> None:
    """Run the loop, write `.panthera/demo.json` and print the summary; stop the processes that the demo started."""
    from monitoring.verbs import expose_verb

    if not plan.has_time:
        raise PantheraError(
            f"the demo plays what happened after an instant, and the label's source {plan.label.source!r} has no event_time; "
            "run `dvc repro`, then `bentoml serve serving.service:PredictionService`"
        )
    if plan.labels_rows:
        raise PantheraError(
            f"the demo plays what happened after an instant, and the label stands in the rows of {plan.label.source!r}; run "
            "`dvc repro`, then `bentoml serve serving.service:PredictionService`"
        )
    progress = Progress(steps=7)
    with ExitStack() as cleanup:
        progress.begin("start the database")
        url = cleanup.enter_context(running_database(settings))
        progress.report("PostgreSQL is ready")

        progress.begin("dvc repro: from the source to registered and materialized releases")
        reproduce(settings, plan, DATA)
        progress.report("reproduced")

        as_of, size = plan.materialize.as_of, plan.serve.max_entities
        labels = _labels(plan, as_of)
        progress.begin(f"bentoml serve, and score {len(labels):,} entities as of {as_of:%Y-%m-%d} over HTTP")
        with (
            running_service(settings.state) as address,
            closing(ServiceClient(address, plan.unit.key, size, settings.api_key)) as client,
        ):
            progress.report(f"the service is ready at {address}")
            predictions = score(client, [entity for entity, _ in labels], as_of, progress, 5 * size)
            stored = count_stored(url, predictions.acknowledged)
            progress.report(
                f"{len(predictions.acknowledged):,} predictions acknowledged, {stored:,} of them in the log"
            )
            exposed = expose_verb(settings, plan, as_of=as_of, why="the demo replays history")
            progress.report(f"{exposed.exposures:,} of these replays imported as exposures of {as_of:%Y-%m-%d}")

            closed = as_of + plan.label.known_after
            progress.begin(f"send the outcomes until {closed:%Y-%m-%d}")
            outcomes = send_outcomes(client, plan.unit.key, labels, as_of, closed)
            progress.report(f"{outcomes:,} outcomes stored")
        progress.begin("drift")
        drift, parity, cohorts = _monitor(settings, plan, closed, progress)
    summary = _summary(plan, predictions, stored, outcomes, drift, parity, cohorts)
    target = settings.state / "demo.json"
    write_whole(target, json.dumps({**summary, "seconds": round(progress.seconds, 1)}, indent=2) + "\n")
    _print_summary(summary, plan, progress.seconds, target, labels[0][0])


def _labels(plan: Plan, as_of: datetime) -> list[tuple[Key, int]]:
    """Return the entities in the label's population at `as_of`, each with its label."""
    source = plan.ingest[plan.label.source]
    if as_of + plan.label.known_after > source.observed_until:
        raise PantheraError(
            f"the demo sends the outcomes after materialize.as_of ({as_of:%Y-%m-%d}), but the label window of "
            f"{in_units(plan.label.known_after)} closes after ingest.{plan.label.source}.observed_until "
            f"({source.observed_until:%Y-%m-%d}); choose an earlier materialize.as_of"
        )
    table = labelled_entities(DATA / "accepted", plan.label, plan.unit, Period(start=as_of, end=as_of), "1 day").rows
    return list(zip(table.column(plan.unit.key).to_pylist(), table.column("label").to_pylist(), strict=True))


def _monitor(
    settings: Settings, plan: Plan, as_of: datetime, progress: Progress
) -> tuple[DriftResult, ParityResult, Comparison]:
    from monitoring.verbs import cohorts_verb, drift_verb, parity_verb

    drift = drift_verb(settings, plan, report=REPORT)
    progress.report(drift.summary)
    progress.begin("parity: recompute served vectors offline")
    parity = parity_verb(settings, plan, data=DATA)
    progress.report(f"{parity.values_compared:,} values compared, {parity.defects} defects")
    progress.begin("cohorts")
    cohorts = cohorts_verb(settings, plan, as_of=as_of)
    progress.report(cohorts.verdict)
    return drift, parity, cohorts


def _summary(
    plan: Plan,
    predictions: DemoPredictions,
    stored: int,
    outcomes: int,
    drift: DriftResult,
    parity: ParityResult,
    cohorts: Comparison,
) -> dict[str, Any]:
    evaluation = read_evaluation(DATA / "evaluation.json")
    champion = evaluation.results[0]
    comparison = cohorts.to_dict()
    return {
        "format_version": 1,
        "project": plan.project.name,
        "champion": drift.release_id,
        "test_auc": champion.test.get("roc_auc"),
        "baseline_auc": evaluation.result(evaluation.baseline).test.get("roc_auc"),
        "test": {result.candidate: result.test for result in evaluation.results},
        "predictions": predictions.requested,
        "acknowledged": len(predictions.acknowledged),
        "stored": stored,
        "by_arm": predictions.by_arm,
        "outcomes": outcomes,
        "parity_compared": parity.values_compared,
        "parity_mismatches": sum(parity.mismatches.values()) + parity.score_mismatches,
        "psi": {column.name: column.psi for column in drift.columns},
        "drift": {"summary": drift.summary, "expected": list(drift.reasons)},
        "cohorts": comparison,
        "sample_ratio_p": comparison["sample_ratio_p"],
    }


def _print_summary(summary: dict[str, Any], plan: Plan, seconds: float, target: Path, entity: Key) -> None:
    cohorts, worst = summary["cohorts"], max(summary["psi"], key=summary["psi"].get)
    table = terminal_table("what", "result", title=f"{plan.project.name}: {plan.project.statement}")
    table.add_row("champion", f"{summary['champion']}")
    for candidate, metrics in summary["test"].items():
        table.add_row(f"test: {candidate}", ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    table.add_row("predictions", f"{summary['acknowledged']:,} acknowledged, {summary['stored']:,} stored")
    table.add_row("outcomes", f"{summary['outcomes']:,}")
    table.add_row("parity", f"{summary['parity_compared']:,} values compared, {summary['parity_mismatches']} differ")
    table.add_row("drift", f"{summary['drift']['summary']}; largest PSI {summary['psi'][worst]:.3f} ({worst})")
    for reason in summary["drift"]["expected"]:
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
    body = json.dumps({"entities": [{plan.unit.key: entity}]})
    for command in (
        f"cd {shlex.quote(str(Path.cwd()))}",
        "panthera up && bentoml serve serving.service:PredictionService",
        f"curl -s localhost:3000/v1/predict -H 'content-type: application/json' -d {shlex.quote(body)}",
        f"panthera cohorts --as-of {cohorts['as_of'][:10]}",
        "panthera parity",
        "dvc status    # after a change of params.yaml; then `dvc repro`",
    ):
        print(f"  {command}")
