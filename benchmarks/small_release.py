"""A plan, and real releases of its small model: one feature, a logistic curve, a bundle on disk, a row in the ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from core.contracts import Contract, ContractFeature, ContractView
from core.plan.file import parse_plan
from core.plan.train import SingleFeatureCandidate
from core.postgres.database import connect
from models.bundles.bundle import write_bundle
from models.bundles.bundling import bundle_contents
from models.bundles.contract_format import FORMAT_VERSION
from models.bundles.signing import read_signer
from models.candidates.candidates import fit
from models.data.rows import Rows
from models.releases import ledger
from models.releases.ledger import NewRelease
from models.scoring.encoding import encode_table

if TYPE_CHECKING:
    from core.settings import Settings

TEXT = """
project: {name: world, problem: binary, statement: "Who leaves?"}
entities:
  account: {key: account_id, dtype: int64, source: visits}
ingest:
  visits:
    reader: {kind: csv, path: visits.csv}
    entity: account
    event_time: {column: at}
    observed_until: "2026-06-01"
    columns:
      account_id: {dtype: int64}
      at: {dtype: timestamp}
label: {source: visits, horizon: 30d, value: "count(*) = 0"}
build_features:
  snapshots: {start: "2026-01-01", end: "2026-03-01"}
  views:
    history: {source: visits, ttl: 10d, every: 1 day, features: {orders: {sql: "count(*)", dtype: int64, unit: orders}}}
  services: {all: [history.*]}
training_set:
  service: all
  as_of: {start: "2026-01-01", end: "2026-03-01", every: 1 month}
  split: {kind: temporal, validation_from: "2026-02-01", test_from: "2026-03-01", gap: 30d}
train:
  seed: 1
  candidates:
    majority: {estimator: majority}
    orders: {estimator: single_feature, feature: history.orders}
evaluate: {primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}, baseline: majority}
register: {model: churn}
materialize: {as_of: "2026-03-01"}
serve:
  missing: answer_and_flag
  stale: answer_and_flag
  experiment: first
  salt: pepper
  arms: {champion: 1, challenger: 1}
  decisions: {above: call, below: wait}
monitor: {psi_alarm: 0.1, parity_sample: 0.5}
"""
PLAN = parse_plan(TEXT)
FEATURES = (ContractFeature("history", "orders", "int64"),)
TABLE = "history__1"


def enter(
    settings: Settings, name: str, *, cut: int = 10, model: str = "churn", table: str = TABLE, key: str = "account_id"
) -> NewRelease:
    """Write a release whose model predicts that an account with `cut` orders or more stays; return its ledger entry."""
    orders = np.arange(40)
    train = pa.table({"history__orders": orders})
    rows = Rows(encode_table(train, FEATURES), (orders < cut).astype(np.int32))
    fitted = fit(SingleFeatureCandidate(estimator="single_feature", feature="history.orders"), FEATURES, rows, rows, 1)
    contract = Contract(
        format_version=FORMAT_VERSION,
        project="world",
        problem="binary",
        candidate=name,
        estimator=fitted.model_format,
        feature_service="all",
        entity_key=key,
        entity_dtype="int64",
        views=(ContractView("history", table, timedelta(days=10), "f" * 64),),
        features=FEATURES,
        threshold=0.5,
        horizon=timedelta(days=30),
        data_revision="md5:1",
        code_revision="git:1",
        model=model,
        lock="sha256:1",
    )
    digest = write_bundle(settings.bundles, bundle_contents(contract, fitted.content, train), read_signer(settings))
    release = NewRelease(
        name, model, name, digest, "all", "md5:1", "git:1", "1", {"test_roc_auc": 0.8, "validation_roc_auc": 0.7}
    )
    with connect(settings.database_url or "") as connection:
        ledger.enter(connection, release)
    return release
