"""The data, model and stores of the serving benchmark: one model over three views of 25 features, in Feast's store and in ours.

The data is that of `make bench-features`. Both services read their own tables in one server, and have the same 300 trees.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import yaml

from benchmarks.feature_store.online import (
    AS_OF,
    KEY,
    TABLES,
    TTL,
    VIEWS,
    analyze,
    create_tables,
    feature_store,
    stock_online,
    write_snapshots,
)
from benchmarks.repro import PLAN
from core.contracts import Contract, ContractFeature, ContractView
from core.plan.file import parse_plan
from core.plan.train import LightGbmCandidate
from core.postgres.database import connect
from feature_repo.files.datasets import snapshot_glob
from feature_repo.materialize import materialize
from models.bundles.bundle import load_bundle, write_bundle
from models.bundles.bundling import bundle_contents
from models.bundles.contract_format import FORMAT_VERSION
from models.bundles.signing import read_signer
from models.candidates.candidates import fit
from models.data.rows import Rows
from models.releases import ledger
from models.releases.ledger import Act, NewRelease
from models.scoring.encoding import encode_table

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from core.settings import Settings

_SEGMENTS = tuple(f"segment {number}" for number in range(40))
FEATURES = tuple(
    ContractFeature(view, name, dtype, _SEGMENTS if dtype == "string" else ())
    for view, features in VIEWS.items()
    for name, dtype in features.items()
)
_TREES, _TRAINED = 300, 20_000
#: The id of our release.
RELEASE = "r1"


@dataclass(frozen=True)
class StockFiles:
    """What the stock service is made from: Feast's repository, the trees, and the levels of the text."""

    repository: Path
    model: Path
    levels: Path


def plan_text() -> str:
    """Compose the plan of our service."""
    content: dict[str, Any] = yaml.safe_load(PLAN)
    content["entities"] = {"customer": {"key": KEY, "dtype": "int64", "source": "customers"}}
    for source in content["ingest"].values():
        source["columns"][KEY]["dtype"] = "int64"
    content["build_features"]["views"] = {
        view: {
            "source": "customers",
            "ttl": "36500d",
            "every": "1 month",
            "features": {name: {"sql": "count(*)", "dtype": dtype, "unit": "1"} for name, dtype in features.items()},
        }
        for view, features in VIEWS.items()
    }
    content["build_features"]["services"] = {"all": [f"{view}.*" for view in VIEWS]}
    return yaml.safe_dump(content, sort_keys=False)


def prepare(settings: Settings, folder: Path, customers: int) -> StockFiles:
    """Fill both stores, fit the model, make it our champion, and write the files of the stock service."""
    url, snapshots = settings.database_url or "", folder / "snapshots"
    settings.plan.write_text(plan_text())
    write_snapshots(snapshots, customers)
    repository = _fill_stock_store(folder, snapshots, url)
    create_tables(url)
    materialize(url, TABLES, snapshots, AS_OF)
    analyze(url)
    model, levels = folder / "model.txt", folder / "levels.json"
    model.write_text(_register(settings, snapshots))
    levels.write_text(json.dumps(_SEGMENTS))
    return StockFiles(repository, model, levels)


def _fill_stock_store(folder: Path, snapshots: Path, url: str) -> Path:
    repository = folder / "stock"
    with feature_store(repository, snapshots, stock_online(url)) as store:
        store.materialize(AS_OF - timedelta(days=2), AS_OF)
        (repository / "feature_store.yaml").write_text(yaml.safe_dump(_stock_configuration(repository, url)))
    return repository


def _stock_configuration(repository: Path, url: str) -> dict[str, Any]:
    return {
        "project": repository.name,
        "provider": "local",
        "registry": {"path": str(repository / "registry.db"), "cache_ttl_seconds": 3600},
        "online_store": stock_online(url),
        "offline_store": {"type": "feature_repo.stores.offline_store.PantheraOfflineStore"},
        "entity_key_serialization_version": 3,
    }


def _register(settings: Settings, snapshots: Path) -> str:
    """Fit the trees and make them the champion; return their text."""
    plan = parse_plan(settings.plan.read_text())
    table = _training_rows(snapshots)
    inputs = encode_table(table, FEATURES)
    rng = np.random.default_rng(4)
    signal = np.nan_to_num(inputs.matrix[:, :4] / 1e6).sum(axis=1) + 0.3 * rng.normal(size=len(inputs))
    trained = Rows(inputs, (signal > np.median(signal)).astype(np.int32))
    spec = LightGbmCandidate(estimator="lightgbm", rounds=_TREES, early_stopping=_TREES)
    fitted = fit(spec, FEATURES, trained, trained, 1)
    contract = Contract(
        format_version=FORMAT_VERSION,
        project=plan.project.name,
        problem="binary",
        candidate="trees",
        estimator=fitted.model_format,
        feature_service="all",
        entity_key=KEY,
        entity_dtype="int64",
        views=tuple(ContractView(view, table.name, TTL, "f" * 64) for view, table in TABLES.items()),
        features=FEATURES,
        threshold=0.5,
        horizon=timedelta(days=30),
        data_revision="md5:1",
        code_revision="git:1",
        model=plan.register_.model,
    )
    signer = read_signer(settings)
    digest = write_bundle(settings.bundles, bundle_contents(contract, fitted.content, table), signer)
    release = NewRelease(RELEASE, plan.register_.model, "trees", digest, "all", "md5:1", "git:1", "1", {})
    with connect(settings.database_url or "") as connection:
        ledger.enter(connection, release)
        ledger.appoint(connection, release.model, "champion", RELEASE, Act("register", "benchmark", "benchmark"))
    booster = load_bundle(settings.bundles / digest, signer.trusted).model.estimator.booster  # type: ignore[attr-defined]
    return str(booster.model_to_string())


def _training_rows(snapshots: Path) -> pa.Table:
    """Return the features of the first customers, named as in a contract."""
    columns = ", ".join(f"{feature.view}.{feature.name} AS {feature.column}" for feature in FEATURES)
    first, *others = (f"read_parquet('{snapshot_glob(snapshots, view)}') AS {view}" for view in VIEWS)
    joins = " ".join(f"JOIN {other} USING ({KEY})" for other in others)
    with duckdb.connect() as connection:
        query = f"SELECT {columns} FROM {first} {joins} WHERE {KEY} < {_TRAINED} ORDER BY {KEY}"
        return connection.execute(query).to_arrow_table()
