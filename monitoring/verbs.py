"""The functions behind `panthera drift`, `parity`, `cohorts`, `expose` and `explain`: open the database and run a check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.contracts import ContractFeature
from core.errors import PantheraError, StaleStateError
from core.experiment.design import Design, compare_arms
from core.experiment.owners import stored_name
from core.experiment.phases import expose_replays
from core.postgres.database import connect, ensure_database
from core.roles import CHAMPION
from core.terminal import terminal_table
from feature_repo.files.datasets import snapshots_ledger
from feature_repo.files.kept_snapshots import kept_files
from feature_repo.stores.registry import open_store
from feature_repo.upkeep.tables_in_use import fingerprints
from feature_repo.views.definitions import declared_table
from feature_repo.views.linked_rows import linked_by
from models.bundles.bundle import load_bundle, read_facts
from models.bundles.explained import explain_vector
from models.bundles.revisions import actor
from models.bundles.signing import read_trusted
from models.data.attributes import join_features
from models.data.split import read_training_set
from models.releases.comparability import same_definition
from models.releases.ledger import current, find_release
from monitoring.changes.separation import ROWS, separate_served
from monitoring.changes.staleness import price_staleness
from monitoring.drift import DriftResult, columns_drift
from monitoring.explained import ExplainedPrediction
from monitoring.logged_predictions import fetch_at_most, fetch_one, fetch_releases, fetch_share
from monitoring.offline_values import fetch_pushes, fetch_watermarks, recompute
from monitoring.parity import check_parity, combined, logged_vector
from monitoring.sealed_log import find_sealed
from monitoring.served_counts import SCORE, fetch_served_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    import psycopg
    import pyarrow as pa
    from rich.table import Table

    from core.contracts import Contract, ContractView
    from core.experiment.cohorts import Comparison
    from core.plan.plan import Monitor, Plan
    from core.roles import Role
    from core.settings import Settings
    from models.bundles.bundle import Bundle, BundleFacts
    from models.releases.ledger import LedgerRelease
    from monitoring.changes.staleness import StalenessResult
    from monitoring.logged_predictions import LoggedPrediction
    from monitoring.offline_values import OfflineRow
    from monitoring.parity import ParityResult
    from monitoring.report import DriftReport


@dataclass(frozen=True)
class Window:
    """The predictions with start < as_of <= end; None leaves a side open."""

    start: datetime | None = None
    end: datetime | None = None

    @staticmethod
    def before(as_of: datetime | None, length: timedelta | None) -> Window:
        """Return the window of `length` that ends at `as_of`; without a length all up to `as_of`, without both all.

        Raises
        ------
        PantheraError
            If there is a length without an end.

        """
        if length is not None and as_of is None:
            raise PantheraError(f"a window of {length} needs an instant at which it ends; add --as-of")
        return Window(as_of - length if as_of and length else None, as_of)

    def __str__(self) -> str:
        if self.start is None and self.end is None:
            return "at all"
        return f"after {self.start or 'the beginning'} up to {self.end or 'now'}"


def drift_verb(
    settings: Settings,
    plan: Plan,
    *,
    as_of: datetime | None = None,
    window: timedelta | None = None,
    role: Role = CHAMPION,
    report: Path | None = None,
) -> DriftResult:
    """Return the drift of the predictions of the release in `role`; with `report`, write an HTML report to that path.

    Raises
    ------
    PantheraError
        If there is no such release, or it served nothing in the window.

    """
    served = Window.before(as_of, window)
    with connect(ensure_database(settings)) as connection:
        release = in_role(connection, plan.register_.model, role)
        bundle = read_facts(settings.bundles / release.bundle_digest, read_trusted(settings))
        reference = bundle.reference
        counts = fetch_served_counts(connection, release.release_id, reference, served.start, served.end)
        if not any(count.rows for count in counts.values()):
            raise PantheraError(
                f"release {release.release_id} ({role}) served no prediction {served}, so there is nothing to measure; "
                "send requests to the service, or choose another window"
            )
        sample = fetch_at_most(connection, release.release_id, ROWS, served.start, served.end)
        written = (
            _write_report(connection, plan.monitor, release.release_id, bundle, window=served, path=report)
            if report
            else None
        )
    expected = {
        feature.column: plan.monitor.expected(feature.view, feature.name) for feature in bundle.contract.features
    }
    expected[SCORE] = plan.monitor.expected_drift.get(SCORE, "")
    columns = columns_drift(reference, counts, plan.monitor.psi_alarm, expected)
    vectors = [logged_vector(each, bundle.contract.features) for each in sample]
    together = separate_served(bundle, vectors, expected, plan.evaluate.money)
    return DriftResult(release.release_id, served.start, served.end, columns, written, together)


def staleness_verb(
    settings: Settings, plan: Plan, *, training_set: Path, lags: Sequence[timedelta], rows: int
) -> StalenessResult:
    """Return what the champion loses if the features of a view are older; see `monitoring.changes.staleness`.

    Raises
    ------
    PantheraError
        If there is no champion, or its label has no time.

    """
    with connect(ensure_database(settings)) as connection:
        release = in_role(connection, plan.register_.model, CHAMPION)
    bundle = load_bundle(settings.bundles / release.bundle_digest, read_trusted(settings))

    def join(wanted: pa.Table, features: Sequence[ContractFeature]) -> pa.Table:
        return join_features(open_store(settings), wanted, plan.unit.key, features)

    table = read_training_set(training_set)
    return price_staleness(plan, bundle, release.release_id, table, join, sorted(set(lags)), rows)


def parity_verb(
    settings: Settings,
    plan: Plan,
    *,
    data: Path,
    as_of: datetime | None = None,
    window: timedelta | None = None,
) -> ParityResult:
    """Return the comparison of a sample of all releases' predictions with the offline recomputation.

    Parameters
    ----------
    data : the folder with the stages' tables, `accepted` and `features`.

    Raises
    ------
    PantheraError
        If nothing was served in the window, or only by releases with other view definitions.

    """
    served = Window.before(as_of, window)
    with connect(ensure_database(settings)) as connection:
        release_ids = fetch_releases(connection, served.start, served.end)
        if not release_ids:
            raise PantheraError(
                f"no prediction was served {served}, so there is nothing to compare; send requests to the service"
            )
        bundles = {release_id: _bundle_of(connection, settings, release_id) for release_id in release_ids}
        recorded = fingerprints(connection)
        comparable = [each for each in release_ids if _has_definitions_of(plan, bundles[each].contract, recorded)]
        if not comparable:
            raise PantheraError(
                f"every release that served {served} was trained on other definitions of its views than "
                f"{settings.plan} has now ({', '.join(release_ids)}); run parity with the plan that they were trained with"
            )
        results = [
            _check(connection, plan, data, release_id=release_id, bundle=bundles[release_id], window=served)
            for release_id in comparable
        ]
    result = combined(results, [release_id for release_id in release_ids if release_id not in comparable])
    if not result.predictions_checked:
        raise PantheraError(
            f"the share {plan.monitor.parity_sample:g} of the log holds no prediction served {served}; "
            f"raise monitor.parity_sample in {settings.plan}"
        )
    return result


def cohorts_verb(settings: Settings, plan: Plan, *, as_of: datetime) -> Comparison:
    """Return the comparison of the arms of the plan's experiment over the exposures that are mature as of `as_of`."""
    with connect(ensure_database(settings)) as connection:
        return compare_arms(connection, Design.of(plan), as_of)


@dataclass(frozen=True)
class ExposedReplays:
    """The number of replayed predictions that were imported as exposures of an experiment."""

    experiment: str
    exposures: int

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""
        return asdict(self)

    def table(self) -> Table:
        """Return a terminal table of the result."""
        table = terminal_table("experiment", "new exposures", numbers=("new exposures",), title="Imported replays")
        table.add_row(self.experiment, f"{self.exposures:,}")
        return table


def expose_verb(
    settings: Settings, plan: Plan, *, as_of: datetime | None = None, window: timedelta | None = None, why: str
) -> ExposedReplays:
    """Write the replayed predictions of the window as exposures of the plan's experiment; see `expose_replays`.

    Raises
    ------
    PantheraError
        If the reason `why` is blank.

    """
    if not why.strip():
        raise PantheraError("the reason is blank; add --why TEXT, which is recorded with the exposures")
    replayed = Window.before(as_of, window)
    with connect(ensure_database(settings)) as connection:
        experiment = stored_name(connection, plan.serve.experiment, plan.register_.model)
        who = actor(settings, Path.cwd())
        count = expose_replays(connection, experiment, replayed.start, replayed.end, actor=who, reason=why.strip())
    return ExposedReplays(experiment, count)


def in_role(connection: psycopg.Connection, model: str, role: Role) -> LedgerRelease:
    """Fetch the release in `role`.

    Raises
    ------
    StaleStateError
        If there is none.

    """
    release = current(connection, model, role)
    if release is None:
        raise StaleStateError(
            f"no {role} of {model!r} is registered; run `dvc repro`, or `panthera repair` if that finds nothing to do"
        )
    return release


def _write_report(
    connection: psycopg.Connection,
    monitor: Monitor,
    release_id: str,
    bundle: BundleFacts,
    *,
    window: Window,
    path: Path,
) -> DriftReport:
    """Write the HTML report of a release's drift to `path`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from monitoring.report import write_report

    rows = monitor.report_rows
    return write_report(
        bundle.reference,
        pq.read_table(pa.BufferReader(bundle.sample)),
        fetch_at_most(connection, release_id, rows, window.start, window.end),
        alarm=monitor.psi_alarm,
        rows=rows,
        path=path,
    )


def explain_verb(settings: Settings, prediction_id: UUID | None = None) -> ExplainedPrediction:
    """Return the explanation of a logged prediction; without an id, of the latest one.

    Raises
    ------
    PantheraError
        If the log has no such prediction.

    """
    with connect(ensure_database(settings)) as connection:
        row = _find(connection, settings, prediction_id)
        if row is None:
            raise PantheraError(
                f"the log holds no prediction {prediction_id}; use a prediction_id from a response of /v1/predict"
                if prediction_id
                else "no prediction was served yet, so there is nothing to explain; send requests to the service"
            )
        release_id, logged = row
        bundle = _bundle_of(connection, settings, release_id)
    why = explain_vector(bundle, logged_vector(logged, bundle.contract.features))
    return ExplainedPrediction(release_id, logged, why, bundle.contract.interval)


def _find(
    connection: psycopg.Connection, settings: Settings, prediction_id: UUID | None
) -> tuple[str, LoggedPrediction] | None:
    """Fetch a prediction and its release id from the log, or else read them from its sealed days."""
    found = fetch_one(connection, prediction_id)
    return found or (find_sealed(connection, settings.state, prediction_id) if prediction_id else None)


def _bundle_of(connection: psycopg.Connection, settings: Settings, release_id: str) -> Bundle:
    release = find_release(connection, release_id)
    if release is None:
        raise StaleStateError(
            f"release {release_id} is in the prediction log but not in the ledger; run `panthera repair`, or restore the "
            "database from a backup"
        )
    return load_bundle(settings.bundles / release.bundle_digest, read_trusted(settings))


def _has_definitions_of(plan: Plan, contract: Contract, recorded: Mapping[str, str]) -> bool:
    """Return whether every view that the contract reads has the same definition in `plan`."""
    return all(same_definition(view, plan, recorded) for view in contract.views)


def _check(
    connection: psycopg.Connection, plan: Plan, data: Path, *, release_id: str, bundle: Bundle, window: Window
) -> ParityResult:
    predictions = fetch_share(connection, release_id, plan.monitor.parity_sample, window.start, window.end)
    features = bundle.contract.features
    return check_parity(
        release_id,
        predictions,
        [*features, *_extra_links(plan, bundle.contract)],
        {view.name: _offline(connection, plan, data, view, predictions) for view in bundle.contract.views},
        bundle.score([logged_vector(logged, features) for logged in predictions]) if predictions else [],
        stale_is_missing=plan.serve.stale == "as_missing",
    )


def _extra_links(plan: Plan, contract: Contract) -> Iterator[ContractFeature]:
    """Yield the link features that are logged but are not inputs of the model."""
    inputs = {feature.column for feature in contract.features}
    links = {view.link.column: view.link for view in contract.views if view.link}
    for column, link in links.items():
        if column not in inputs:
            declared = plan.build_features.views[link.view].features[link.feature]
            yield ContractFeature(link.view, link.feature, declared.dtype)


def _offline(
    connection: psycopg.Connection,
    plan: Plan,
    data: Path,
    view: ContractView,
    predictions: Sequence[LoggedPrediction],
) -> list[OfflineRow]:
    declared = plan.build_features.views[view.name]
    return recompute(
        view.name,
        declared,
        plan.entity_of(declared),
        predictions,
        fetch_watermarks(connection, view.online_table),
        accepted=data / "accepted",
        features=data / "features",
        kept=kept_files(snapshots_ledger(data) / view.online_table),
        linked=linked_by(plan, declared),
        pushes=fetch_pushes(connection, {view.online_table, declared_table(plan, view.name).name}),
    )
