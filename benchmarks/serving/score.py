"""Score many entities with `panthera score`, and with the stock way; the last line is one JSON object.

Run it as `make bench-score`. Two models are scored, each over all entities of an online table.

- `entities_per_second`: the small plan's model, one feature by an integer key; from the start of the verb's function to the
  closed Parquet file, the median of several runs.
- `trees_per_second`: 100 trees of LightGBM over the columns of the plan of `make bench-repro`: 16 numbers and two texts, by a
  key that is a text. The trees take most of this time.
- `stock_per_second`: the same trees by the stock way: Feast's PostgreSQL store by `get_online_features`, a data frame and
  `Booster.predict`, in batches of a thousand; over fewer entities, because its time grows with their number. The scores of
  both ways are compared first.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

import feast
import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from feast import types as feast_types
from feast.repo_config import RegistryConfig, RepoConfig

from benchmarks import small_release
from benchmarks.feature_store.online import stock_online
from benchmarks.repro import LEVELS, NUMBERS, plan
from benchmarks.scratch_server import scratch_server
from core.contracts import Contract, ContractFeature, ContractView
from core.plan.file import parse_plan
from core.plan.train import LightGbmCandidate
from core.postgres.database import connect
from core.settings import Settings, silence_telemetry
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import copy_rows, create
from models.bundles.bundle import load_bundle, write_bundle
from models.bundles.bundling import bundle_contents
from models.bundles.contract_format import FORMAT_VERSION
from models.bundles.signing import read_signer
from models.candidates.candidates import fit
from models.data.rows import Rows
from models.releases import ledger
from models.releases.ledger import Act, NewRelease
from models.scoring.encoding import encode_table
from serving.batch.outputs import to_file
from serving.batch.run import Asked, score_entities

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import lightgbm

    from core.plan.plan import Plan

AS_OF = datetime(2021, 1, 3, tzinfo=UTC)
EVENT = AS_OF - timedelta(days=1)
KEY = "customer_id"
TEXTS = {name: tuple(levels) for name, levels in LEVELS.items()}
DTYPES = {**dict.fromkeys(TEXTS, "string"), **{f"n_{number}": "float64" for number in range(NUMBERS)}}
FEATURES = tuple(ContractFeature("profile", name, dtype, TEXTS.get(name, ())) for name, dtype in DTYPES.items())
TABLE = OnlineTable("profile__benchmark", ((KEY, "string"),), tuple(DTYPES.items()))
_TRAINED, _BATCH, _RUNS = 7_000, 1_000, 5
_TIMES = pa.timestamp("us", "UTC")


def rows(count: int) -> pa.Table:
    """Return `count` customers with their features, of which a tenth is missing."""
    rng = np.random.default_rng(3)

    def column(name: str) -> pa.Array:
        missing = rng.random(count) < 0.1  # noqa: PLR2004
        if name in TEXTS:
            return pa.array(rng.choice(TEXTS[name], count), pa.string(), mask=missing)
        return pa.array(rng.normal(size=count).round(4), mask=missing)

    return pa.table({KEY: [f"c{number:07d}" for number in range(count)], **{name: column(name) for name in DTYPES}})


def register(settings: Settings, plan: Plan) -> str:
    """Fit the model, write its bundle, and make it the champion; return the digest."""
    named = {name: feature.column for name, feature in zip(DTYPES, FEATURES, strict=True)}
    table = rows(_TRAINED).select([*DTYPES]).rename_columns([*named.values()])
    inputs = encode_table(table, FEATURES)
    label = (
        np.nan_to_num(inputs.matrix[:, 2]) + (inputs.matrix[:, 0] == 0) + np.random.default_rng(4).normal(size=_TRAINED)
    )
    spec = LightGbmCandidate(estimator="lightgbm", rounds=100, early_stopping=100)
    trained = Rows(inputs, (label > 1).astype(np.int32))
    fitted = fit(spec, FEATURES, trained, trained, 1)
    contract = Contract(
        format_version=FORMAT_VERSION,
        project=plan.project.name,
        problem="binary",
        candidate="trees",
        estimator=fitted.model_format,
        feature_service="all",
        entity_key=KEY,
        entity_dtype="string",
        views=(ContractView("profile", TABLE.name, timedelta(days=400), "f" * 64),),
        features=FEATURES,
        threshold=0.5,
        horizon=timedelta(days=30),
        data_revision="md5:1",
        code_revision="git:1",
        model=plan.register_.model,
    )
    digest = write_bundle(settings.bundles, bundle_contents(contract, fitted.content, table), read_signer(settings))
    release = NewRelease("r1", plan.register_.model, "trees", digest, "all", "md5:1", "git:1", "1", {})
    with connect(settings.database_url or "") as connection:
        ledger.enter(connection, release)
        ledger.appoint(connection, release.model, "champion", "r1", Act("register", "benchmark", "benchmark"))
    return digest


def bring_online(url: str, customers: pa.Table) -> None:
    """Write the online table of the customers, and the record of its run."""
    times = pa.array([EVENT] * len(customers), _TIMES)
    stored = customers.append_column("event_timestamp", times).append_column("created_timestamp", times)
    with connect(url) as connection:
        create(connection, TABLE)
        copy_rows(connection, TABLE.identifier, TABLE, stored)
        connection.execute(
            "INSERT INTO panthera.materialization VALUES (gen_random_uuid(), 'profile', %s, %s, %s)",
            [TABLE.name, EVENT, len(customers)],
        )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def stock_store(folder: Path, url: str, customers: pa.Table) -> feast.FeatureStore:
    """Return a store on Feast's PostgreSQL tables, filled with the customers."""
    folder.mkdir()
    pq.write_table(
        customers.append_column("event_timestamp", pa.array([EVENT] * len(customers), _TIMES)), folder / "rows.parquet"
    )
    config = RepoConfig(
        project="stock",
        provider="local",
        registry=RegistryConfig(path=str(folder / "registry.db"), cache_ttl_seconds=3600),
        online_store=stock_online(url),
        offline_store={"type": "feature_repo.stores.offline_store.PantheraOfflineStore"},
        entity_key_serialization_version=3,
    )
    store = feast.FeatureStore(config=config)
    customer = feast.Entity(name="customer", join_keys=[KEY], value_type=feast.ValueType.STRING)
    types = {"string": feast_types.String, "float64": feast_types.Float64}
    view = feast.FeatureView(
        name="profile",
        entities=[customer],
        ttl=timedelta(days=36_500),
        schema=[feast.Field(name=KEY, dtype=feast_types.String)]
        + [feast.Field(name=name, dtype=types[dtype]) for name, dtype in DTYPES.items()],
        source=feast.FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_timestamp"),
    )
    store.apply([customer, view])
    store.materialize(EVENT - timedelta(days=1), AS_OF)
    return store


def stock_scores(store: feast.FeatureStore, booster: lightgbm.Booster, keys: Sequence[str]) -> list[float]:
    """Return the scores of a batch by Feast's client and LightGBM's booster."""
    references = [f"profile:{name}" for name in DTYPES]
    frame = store.get_online_features(features=references, entity_rows=[{KEY: key} for key in keys]).to_df()
    for name, levels in TEXTS.items():
        codes = pd.Categorical(frame[name], categories=levels).codes
        frame[name] = np.where(codes < 0, np.nan, codes)
    scores: list[float] = booster.predict(frame[[*DTYPES]].astype(float)).tolist()
    return scores


def bring_accounts_online(url: str, accounts: int) -> None:
    """Write the online table of the small plan, in which account n has n % 40 orders."""
    with connect(url) as connection:
        create(connection, OnlineTable(small_release.TABLE, (("account_id", "int64"),), (("orders", "int64"),)))
        connection.execute(
            f"INSERT INTO online.{small_release.TABLE} SELECT n, %s, %s, n %% 40 FROM generate_series(1, %s) AS n",
            [EVENT, EVENT, accounts],
        )
        connection.execute(
            "INSERT INTO panthera.materialization VALUES (gen_random_uuid(), 'history', %s, %s, %s)",
            [small_release.TABLE, EVENT, accounts],
        )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def rates(settings: Settings, plan: Plan, out: Path, entities: int) -> list[int]:
    """Return the entities per second of each run but the first one, which loads libraries."""
    found = []
    for _ in range(_RUNS + 1):
        began = time.perf_counter()
        score_entities(settings, plan, Asked("champion", as_of=AS_OF), lambda: AS_OF, lambda _: to_file(out))
        found.append(round(entities / (time.perf_counter() - began)))
    return found[1:]


def measure_small(settings: Settings, out: Path, accounts: int) -> list[int]:
    """Return the rates of the small plan's model."""
    release = small_release.enter(settings, "small")
    with connect(settings.database_url or "") as connection:
        ledger.appoint(connection, release.model, "champion", "small", Act("register", "benchmark", "benchmark"))
    bring_accounts_online(settings.database_url or "", accounts)
    return rates(settings, small_release.PLAN, out, accounts)


def stock_rate(settings: Settings, digest: str, folder: Path, customers: pa.Table) -> int:
    """Return the entities per second of the stock way, after a comparison of its scores with those in the file."""
    bundle = load_bundle(settings.bundles / digest, read_signer(settings).trusted)
    booster = bundle.model.estimator.booster  # type: ignore[attr-defined]
    store = stock_store(folder / "stock", settings.database_url or "", customers)
    keys: list[str] = customers.column(KEY).to_pylist()
    ours = dict(zip(*pq.read_table(folder / "trees.parquet", columns=[KEY, "score"]).to_pydict().values(), strict=True))
    stock = stock_scores(store, booster, keys)
    if any(not math.isclose(ours[key], score) for key, score in zip(keys, stock, strict=True)):
        raise SystemExit("the two ways return different scores")
    began = time.perf_counter()
    for begin in range(0, len(keys), _BATCH):
        stock_scores(store, booster, keys[begin : begin + _BATCH])
    return round(len(keys) / (time.perf_counter() - began))


def measure(settings: Settings, folder: Path, entities: int, stock_entities: int) -> dict[str, Any]:
    """Return the figures of both models and both ways."""
    small = measure_small(settings, folder / "small.parquet", entities)
    wide, data = parse_plan(plan()), rows(entities)
    digest = register(settings, wide)
    bring_online(settings.database_url or "", data)
    trees = rates(settings, wide, folder / "trees.parquet", entities)
    stock = stock_rate(settings, digest, folder, data.slice(0, stock_entities))
    return {
        "entities": entities,
        "entities_per_second": statistics.median(small),
        "runs": small,
        "trees_per_second": statistics.median(trees),
        "trees_runs": trees,
        "stock_per_second": stock,
        "trees_ratio": round(statistics.median(trees) / stock, 1),
    }


def main() -> None:
    """Read the arguments, measure, and print the figures."""
    parser = argparse.ArgumentParser(description="Score many entities, beside the stock way.")
    parser.add_argument("--entities", type=int, default=400_000)
    parser.add_argument("--stock-entities", type=int, default=5_000)
    arguments = parser.parse_args()
    silence_telemetry()
    with scratch_server("panthera-score-") as (url, folder):
        settings = Settings(folder / "params.yaml", folder / "state", url, None)
        with mock.patch.dict(os.environ, {"PANTHERA_STATE": str(folder / "state")}):
            print(json.dumps(measure(settings, folder, arguments.entities, arguments.stock_entities)))


if __name__ == "__main__":
    main()
