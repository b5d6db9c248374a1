"""Every candidate kind, from its fitted bytes through its bundle to the answer over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from core.contracts import ContractFeature
from models.bundle import write_bundle
from models.bundling import bundle_contents
from models.candidates import fit
from models.encoding import encode_table, vectors_of
from models.model_file import load_model
from models.rows import Rows
from models.signing import read_signer
from tests.models.candidate_kinds import KINDS, candidate, kinds_of
from tests.serving.conftest import MATERIALIZED, Client, World, contract_over, serve

if TYPE_CHECKING:
    from core.settings import Settings

_KINDS = [kind for kind in kinds_of("binary") if "text" not in KINDS[kind]]
_FEATURES = (
    ContractFeature("history", "orders", "int64"),
    ContractFeature("history", "spend", "float64"),
    ContractFeature("history", "segment", "string", ("new", "regular")),
)
_SERVED = 40


def _training_rows() -> tuple[pa.Table, Rows]:
    """400 rows with every kind of gap, in which the label follows all three features."""
    random = np.random.default_rng(5)
    orders = _with_gaps(random, [int(n) for n in random.integers(0, 30, 400)])
    spend = _with_gaps(random, [float(x) for x in random.gamma(2, 9, 400)])
    segment = [("new", "regular", None)[int(n)] for n in random.integers(0, 3, 400)]
    table = pa.table({"history__orders": orders, "history__spend": spend, "history__segment": segment})
    rows = zip(orders, spend, segment, strict=True)
    label = [int((n or 0) + (x or 0) + 10 * (s == "new") > 35) for n, x, s in rows]
    return table, Rows(encode_table(table, _FEATURES), np.asarray(label, dtype=np.int32))


def _with_gaps(random: np.random.Generator, values: list[float]) -> list[float | None]:
    return [None if gap else value for value, gap in zip(values, random.random(len(values)) < 0.1, strict=True)]


def _bring_online(world: World, table: pa.Table) -> None:
    world.execute(
        "CREATE TABLE online.history_1 (account_id int8 PRIMARY KEY, event_timestamp timestamptz NOT NULL, "
        "created_timestamp timestamptz NOT NULL, orders int8, spend float8, segment text)"
    )
    with psycopg.connect(world.url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO online.history_1 VALUES (%s, %s, %s, %s, %s, %s)",
            [(at, MATERIALIZED, MATERIALIZED, *row) for at, row in enumerate(vectors_of(table, _FEATURES)[:_SERVED])],
        )
    world.execute(
        "INSERT INTO panthera.materialization VALUES (gen_random_uuid(), 'history', 'history_1', %s, %s)",
        [MATERIALIZED, _SERVED],
    )


def _bundle(settings: Settings, kind: str, table: pa.Table, rows: Rows) -> tuple[str, list[float]]:
    """Write the bundle of a fitted candidate; return its digest, and what the model says of the served rows offline."""
    spec = {**KINDS[kind], **({"feature": "history.orders"} if kind == "single_feature" else {})}
    fitted = fit(candidate(spec), _FEATURES, rows, rows, 1)
    contract = contract_over([("history_1", feature.name, feature.dtype) for feature in _FEATURES])
    contract = replace(contract, candidate=kind, estimator=fitted.model_format, features=_FEATURES)
    contents = bundle_contents(contract, fitted.content, table)
    digest = write_bundle(settings.bundles, contents, read_signer(settings))
    scores = load_model(fitted.model_format, fitted.content).score(rows.inputs.take(slice(_SERVED)))
    return digest, [float(score) for score in scores]


@pytest.mark.parametrize("kind", _KINDS)
def test_the_score_over_http_is_the_offline_score_of_the_same_row(bare_world: World, kind: str) -> None:
    table, rows = _training_rows()
    _bring_online(bare_world, table)
    digest, offline = _bundle(bare_world.settings, kind, table, rows)
    bare_world.enter("real", "champion", digest)
    bare_world.write_plan(max_entities=str(_SERVED))

    async def use(client: Client) -> None:
        together = [entry["score"] for entry in await client.entries(*range(_SERVED))]
        alone = [(await client.entries(account))[0]["score"] for account in range(_SERVED)]
        assert together == pytest.approx(offline, rel=0, abs=1e-9)
        assert alone == pytest.approx(offline, rel=0, abs=1e-9)
        assert max(offline) - min(offline) > 0.1 or kind == "majority"

    serve(bare_world, use)


def test_a_bundle_with_one_byte_changed_is_not_served(bare_world: World) -> None:
    table, rows = _training_rows()
    _bring_online(bare_world, table)
    digest, _ = _bundle(bare_world.settings, _KINDS[0], table, rows)
    model = bare_world.settings.bundles / digest / "model"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    bare_world.enter("altered", "champion", digest)

    async def use(client: Client) -> None:
        response = await client.predict(1)
        assert response.status_code == 503
        assert "altered" in response.json()["error"]["message"]

    serve(bare_world, use)
