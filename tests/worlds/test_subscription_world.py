"""The subscription world is reproducible, and its records are what its truth says."""

import hashlib
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from core.errors import PantheraError
from worlds.subscription import generate as generating
from worlds.subscription.__main__ import main
from worlds.subscription.coefficients import HazardCoefficients
from worlds.subscription.generate import generate
from worlds.subscription.hazard import coefficients_in
from worlds.subscription.life import Life
from worlds.subscription.people import FAMILY_NAMES, GIVEN_NAMES
from worlds.subscription.settings import Faults, SubscriptionSettings
from worlds.subscription.tables import TABLES

#: A binomial count lies within 4.9 standard deviations of its mean but for one time in a million.
DEVIATIONS = 4.9
NO_FAULTS = Faults(late_rate=0, duplicate_rate=0, missing_rate=0, impossible_rate=0)
Numbers = NDArray[np.float64]
EVENT_TABLES = [table for table in TABLES if table != "customers"]


class Feature(NamedTuple):
    """An aggregate by customer of what happened before `as_of`, within `window_days` if stated."""

    table: str
    value: str
    window_days: int | None = None


def _opened(reason: str) -> Feature:
    return Feature("tickets", f"least(2, count(*) FILTER (state = 'opened' AND reason = '{reason}'))", 90)


ENDS_LATER = "arg_max(contract, event_time) = 'annual' AND arg_max(contract_end, event_time) > as_of::DATE + 31"
ENDS_SOON = "arg_max(contract, event_time) = 'annual' AND arg_max(contract_end, event_time) <= as_of::DATE + 31"
#: The hazard's terms from the tables, as a feature view would state them, with `as_of` a month's first instant.
FEATURES = {
    "log_tenure": Feature("customers", "ln(1 + date_diff('day', min(event_time), as_of) / 30)"),
    "annual_locked": Feature("plan_changes", f"({ENDS_LATER})::INT"),
    "annual_ending": Feature("plan_changes", f"({ENDS_SOON})::INT"),
    "price_rise_90d": Feature("plan_changes", "sum(ln(price / previous_price)) FILTER (kind = 'price_change')", 90),
    "downgrades_90d": Feature("plan_changes", "count(*) FILTER (kind = 'downgrade')", 90),
    "active_share_30d": Feature("usage_daily", "count(DISTINCT event_time::DATE) / 30", 30),
    "minutes_30d": Feature("usage_daily", "sum(minutes)", 30),
    "minutes_90d": Feature("usage_daily", "sum(minutes)", 90),
    "features_mean_30d": Feature("usage_daily", "avg(features_used)", 30),
    "days_since_use": Feature("usage_daily", "date_diff('day', max(event_time), as_of)"),
    "days_since_signup": Feature("customers", "date_diff('day', min(event_time), as_of)"),
    "failed_payments_90d": Feature("payments", "least(3, count(*) FILTER (status = 'failed'))", 90),
    "late_payments_90d": Feature("payments", "least(3, count(*) FILTER (status = 'late'))", 90),
    "open_tickets": Feature(
        "tickets", "least(2, count(*) FILTER (state = 'opened') - count(*) FILTER (state = 'closed'))"
    ),
    "billing_tickets_90d": _opened("billing"),
    "outage_tickets_90d": _opened("outage"),
    "cancellation_tickets_90d": _opened("cancellation"),
    "angry_tickets_90d": Feature("tickets", "least(2, count(*) FILTER (text LIKE '%unacceptable%'))", 90),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 customers with every fault and change."""
    folder = tmp_path_factory.mktemp("faulty") / "world"
    generate(SubscriptionSettings(customers=20_000), folder)
    return folder


@pytest.fixture(scope="module")
def large_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100,000 customers: as many as it takes to see a segment's rate of a single month."""
    folder = tmp_path_factory.mktemp("large") / "world"
    generate(SubscriptionSettings(customers=100_000), folder)
    return folder


@pytest.fixture(scope="module")
def clean_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 customers without faults, and with a concept shift as the only change."""
    folder = tmp_path_factory.mktemp("clean") / "world"
    changes = [{"kind": "concept_shift", "start_month": 10, "term": "usage_trend", "coefficient": 2.0}]
    generate(SubscriptionSettings(customers=2_000, faults=NO_FAULTS, changes=changes), folder)
    return folder


def _rows(folder: Path, sql: str) -> list[Any]:
    """Run SQL in which each table's name in braces stands for its files."""
    names = {table: f"read_parquet('{folder / table}/*.parquet')" for table in TABLES}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(
            sql.format(hazard=f"read_parquet('{folder}/truth/hazard.parquet')", **names)
        ).fetchall()


def _truth(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "truth" / f"{name}.json").read_text())
    return content


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _holds(successes: int, trials: int, rate: float) -> bool:
    return abs(successes - trials * rate) <= DEVIATIONS * math.sqrt(trials * rate * (1 - rate))


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    settings = SubscriptionSettings(customers=450, chunk_customers=200)
    generate(settings, tmp_path / "one")
    generate(settings, tmp_path / "two", workers=2)
    digests = _digests(tmp_path / "one")
    assert digests == _digests(tmp_path / "two")
    assert len(digests) == 3 * len(TABLES) + len(("hazard", "settings", "formula", "changes", "offer", "disparity"))


def test_another_seed_gives_other_records_in_every_table(tmp_path: Path) -> None:
    for seed in (1, 2):
        generate(SubscriptionSettings(customers=300, seed=seed), tmp_path / str(seed))
    one, two = _digests(tmp_path / "1"), _digests(tmp_path / "2")
    assert one.keys() == two.keys()
    same = {name for name in one if one[name] == two[name]}
    assert same == {"truth/formula.json", "truth/changes.json"}


def test_a_whole_chunk_does_not_depend_on_how_many_customers_there_are(tmp_path: Path) -> None:
    for customers in (200, 300):
        generate(SubscriptionSettings(customers=customers, chunk_customers=200), tmp_path / str(customers))
    part = "usage_daily/part-00000.parquet"
    assert (tmp_path / "200" / part).read_bytes() == (tmp_path / "300" / part).read_bytes()
    ids = "SELECT count(DISTINCT customer_id), min(customer_id), max(customer_id) FROM {customers}"
    assert _rows(tmp_path / "300", ids) == [(300, 1, 300)]


def test_every_table_has_the_stated_columns_and_types(world: Path) -> None:
    for table, spec in TABLES.items():
        for part in (world / table).iterdir():
            assert pq.read_schema(part).equals(spec.schema), table


def test_direct_identifiers_stand_in_customers_alone(world: Path) -> None:
    holders = {table: {"name", "email", "phone"} & set(spec.schema.names) for table, spec in TABLES.items()}
    assert {table for table, found in holders.items() if found} == {"customers"}
    names = "|".join((*GIVEN_NAMES, *FAMILY_NAMES, "@", "[+]999"))
    assert _rows(world, "SELECT count(*) FROM {tickets} WHERE regexp_matches(text, '" + names + "', 'i')") == [(0,)]
    assert _rows(world, "SELECT count(*) FROM {customers} WHERE NOT regexp_matches(name, '" + names + "')") == [(0,)]


def test_mail_addresses_are_unique_and_nobody_owns_them(world: Path) -> None:
    sql = "SELECT count(DISTINCT email), count(DISTINCT customer_id), bool_and(email LIKE '%.example') FROM {customers}"
    assert _rows(world, sql) == [(20_000, 20_000, True)]


def test_cancellations_of_each_segment_agree_with_the_stated_hazards_in_every_month(large_world: Path) -> None:
    rows = _rows(
        large_world,
        """SELECT segment, month_start, sum(cancelled::INT), sum(hazard), sum(hazard * (1 - hazard))
        FROM {hazard} GROUP BY ALL""",
    )
    assert {row[0] for row in rows} == {"consumer", "family", "student", "business"}
    assert len({row[1] for row in rows}) == SubscriptionSettings().months
    for segment, month, cancelled, expected, variance in rows:
        assert abs(cancelled - expected) <= DEVIATIONS * math.sqrt(variance), (segment, month)


def test_cancellations_agree_with_the_stated_hazards_from_the_lowest_to_the_highest(large_world: Path) -> None:
    rows = _rows(
        large_world,
        """SELECT part, sum(cancelled::INT), sum(hazard), sum(hazard * (1 - hazard))
        FROM (SELECT *, ntile(10) OVER (ORDER BY hazard) AS part FROM {hazard}) GROUP BY 1""",
    )
    for part, cancelled, expected, variance in rows:
        assert abs(cancelled - expected) <= DEVIATIONS * math.sqrt(variance), part


def test_the_recorded_cancellations_are_those_of_the_truth(world: Path) -> None:
    """Each falls within the horizon of 28 days after the start of its month."""
    rows = _rows(
        world,
        """SELECT count(*), count(h.customer_id), count(DISTINCT c.customer_id),
            (SELECT count(*) FROM {hazard} WHERE cancelled)
        FROM (SELECT DISTINCT customer_id, event_time FROM {cancellations}) c
        LEFT JOIN {hazard} h ON h.customer_id = c.customer_id AND h.cancelled
            AND c.event_time > h.month_start AND c.event_time < h.month_start + INTERVAL 28 DAY""",
    )
    assert len(set(rows[0])) == 1
    assert rows[0][0] > 0


def test_nothing_happens_to_a_customer_before_signup_or_after_cancelling(world: Path) -> None:
    lives = """(SELECT customer_id, min(event_time) AS signup FROM {customers} GROUP BY 1)
        LEFT JOIN (SELECT customer_id, min(event_time) AS gone FROM {cancellations} GROUP BY 1) USING (customer_id)"""
    for table in EVENT_TABLES:
        outside = f"SELECT count(*) FROM {{{table}}} JOIN {lives} USING (customer_id) WHERE event_time NOT BETWEEN "
        assert _rows(world, outside + "signup AND coalesce(gone, 'infinity')") == [(0,)], table


def _values(folder: Path, feature: Feature) -> Numbers:
    """Compute a feature for each row of the truth, by month and customer; NaN where there is nothing to aggregate."""
    since = f"AND event_time >= as_of - INTERVAL {feature.window_days} DAY" if feature.window_days else ""
    rows = _rows(
        folder,
        f"""WITH asked AS (SELECT customer_id, month_start AS as_of FROM {{hazard}}),
        answers AS (SELECT customer_id, as_of, {feature.value} AS value FROM {{{feature.table}}}
            JOIN asked USING (customer_id) WHERE event_time < as_of {since} GROUP BY customer_id, as_of)
        SELECT coalesce(value, 'nan'::DOUBLE) FROM asked LEFT JOIN answers USING (customer_id, as_of)
        ORDER BY as_of, customer_id""",
    )
    return np.array([row[0] for row in rows], np.float64)


def _terms_from_tables(folder: Path) -> dict[str, Numbers]:
    """Compute every term for each row of the truth, by month and customer."""
    values = {name: _values(folder, feature) for name, feature in FEATURES.items()}
    since_signup, since_use = values.pop("days_since_signup"), values.pop("days_since_use")
    terms = {name: np.nan_to_num(value) for name, value in values.items()}
    terms["days_since_use"] = np.minimum(np.where(np.isnan(since_use), since_signup, since_use), 30)
    terms["usage_trend"] = np.log((1 + terms.pop("minutes_30d")) / (1 + terms.pop("minutes_90d") / 3))
    return terms


def test_the_hazard_follows_from_the_tables_by_the_stated_formula(clean_world: Path) -> None:
    """SQL over the tables and the coefficients of the truth give every hazard; the trend's becomes 2 in month 10."""
    truth = _truth(clean_world, "formula")
    terms = _terms_from_tables(clean_world)
    assert terms.keys() == truth["terms"].keys() == HazardCoefficients.model_fields.keys()
    rows = _rows(
        clean_world,
        """SELECT hazard, hazard_with_offer, c.segment, region, acquisition_channel, gender, month(month_start),
            month_start >= TIMESTAMPTZ '2023-11-01 00:00:00+00'
        FROM {hazard} h JOIN {customers} c USING (customer_id) ORDER BY month_start, customer_id""",
    )
    hazard, with_offer, segments, regions, channels, genders, months, shifted = zip(*rows, strict=True)
    attributes = {"segment": segments, "region": regions, "acquisition_channel": channels, "gender": genders}
    logit = truth["intercept"] + sum(truth["terms"][name]["coefficient"] * values for name, values in terms.items())
    logit += np.array(shifted) * (2.0 - truth["terms"]["usage_trend"]["coefficient"]) * terms["usage_trend"]
    for attribute, names in attributes.items():
        logit += np.array([truth[attribute][name] for name in names])
    logit += truth["protected"]["logit"] * (np.array(genders) == "female")
    logit += 0.25 * np.cos(2 * np.pi * (np.array(months) - 1) / 12)
    np.testing.assert_allclose(hazard, 1 / (1 + np.exp(-logit)), rtol=1e-9)
    effects = _truth(clean_world, "offer")["logit"]
    offered = logit + np.array([effects[name] for name in segments])
    np.testing.assert_allclose(with_offer, 1 / (1 + np.exp(-offered)), rtol=1e-9)


@pytest.mark.parametrize("table", TABLES)
def test_records_are_doubled_damaged_and_incomplete_at_the_stated_rates(world: Path, table: str) -> None:
    """The month of the missing column is left out: there nearly every record of `usage_daily` lacks a value."""
    spec, faults = TABLES[table], Faults()
    lacking = " OR ".join(f"{column} IS NULL" for column in spec.may_be_missing)
    wrong = f"{spec.impossible_column} = {spec.impossible_value}"
    # The unit of an impossible value is not changed, because the damage comes after the break.
    counts = f"""SELECT count(*), sum(({lacking})::INT), sum(coalesce({wrong}, false)::INT)
        FROM (SELECT DISTINCT * FROM {{{table}}} WHERE strftime(event_time, '%Y-%m') <> '2024-09')"""
    records, missing, impossible = _rows(world, counts)[0]
    assert _holds(missing, records, faults.missing_rate)
    assert _holds(impossible, records, faults.impossible_rate)
    total, distinct = _rows(
        world, f"SELECT count(*), (SELECT count(*) FROM (SELECT DISTINCT * FROM {{{table}}})) FROM {{{table}}}"
    )[0]
    assert _holds(total - distinct, distinct, faults.duplicate_rate)


@pytest.mark.parametrize("table", EVENT_TABLES)
def test_records_are_late_at_the_stated_rate_and_otherwise_known_on_the_same_day(world: Path, table: str) -> None:
    records, late, latest, others_same_day, order = _rows(
        world,
        f"""SELECT count(*), sum((delay >= INTERVAL 1 DAY)::INT), max(delay) <= INTERVAL 7 DAY,
            bool_and(delay >= INTERVAL 1 DAY OR created_time::DATE = event_time::DATE), min(delay) > INTERVAL 0 DAY
        FROM (SELECT DISTINCT *, created_time - event_time AS delay FROM {{{table}}})""",
    )[0]
    assert _holds(late, records, Faults().late_rate)
    assert (latest, others_same_day, order) == (True, True, True)


def test_the_injected_changes_start_and_end_where_the_truth_says(world: Path) -> None:
    """With 2023-01 as month 0, months 18, 20, 21 and 22 start in 2024 on 1 July, September, October and November."""
    changes = {change["kind"]: change for change in _truth(world, "changes")["changes"]}
    assert {kind: (change["starts"], change["ends"]) for kind, change in changes.items()} == {
        "covariate_shift": ("2024-07-01T00:00:00Z", None),
        "column_missing": ("2024-09-01T00:00:00Z", "2024-10-01T00:00:00Z"),
        "unit_change": ("2024-10-01T00:00:00Z", "2024-11-01T00:00:00Z"),
        "concept_shift": ("2024-11-01T00:00:00Z", None),
    }


def test_a_column_is_missing_in_exactly_the_month_of_its_broken_feed(world: Path) -> None:
    rows = _rows(
        world,
        """SELECT date_trunc('month', event_time), avg((features_used IS NULL)::INT) FROM {usage_daily}
        GROUP BY 1 HAVING avg((features_used IS NULL)::INT) > 0.02""",
    )
    assert rows == [(datetime(2024, 9, 1, tzinfo=UTC), 1.0)]


def test_a_unit_is_changed_in_exactly_the_month_of_its_broken_feed(world: Path) -> None:
    """Seconds instead of minutes: each is a multiple of 60, but for the impossible ones."""
    rows = _rows(
        world,
        "SELECT DISTINCT date_trunc('month', event_time) FROM {usage_daily} WHERE minutes > 720",
    )
    assert rows == [(datetime(2024, 10, 1, tzinfo=UTC),)]
    assert _rows(
        world,
        """SELECT bool_and(minutes % 60 = 0) FROM {usage_daily}
        WHERE strftime(event_time, '%Y-%m') = '2024-10' AND minutes > 0""",
    ) == [(True,)]


def test_a_covariate_shift_shortens_the_use_of_its_segments_from_its_month_on(world: Path) -> None:
    """The factor is 0.6; in the months before and after, the mean logarithm differs by ln 0.6, else by nothing."""
    rows = _rows(
        world,
        """WITH usual AS (SELECT customer_id, segment, avg(ln(minutes)) FILTER (event_time < '2024-07-01') AS before,
            avg(ln(minutes)) FILTER (event_time >= '2024-07-01') AS after
            FROM {usage_daily} JOIN (SELECT DISTINCT customer_id, segment FROM {customers}) USING (customer_id)
            WHERE minutes > 0 AND event_time BETWEEN '2024-05-01' AND '2024-09-01' GROUP BY ALL
            HAVING count(*) FILTER (event_time < '2024-07-01') >= 10
                AND count(*) FILTER (event_time >= '2024-07-01') >= 10)
        SELECT segment, avg(after - before), stddev(after - before) / sqrt(count(*)) FROM usual GROUP BY 1""",
    )
    for segment, shift, error in rows:
        expected = math.log(0.6) if segment in {"consumer", "family"} else 0.0
        # Minutes are whole and at least 1, which moves the logarithm of short times a little.
        assert abs(shift - expected) <= DEVIATIONS * error + 0.02, segment


def test_a_concept_shift_changes_one_coefficient_from_its_month_on() -> None:
    settings = SubscriptionSettings()
    assert coefficients_in(settings, 21) == settings.hazard
    assert coefficients_in(settings, 22) == settings.hazard.model_copy(update={"active_share_30d": -0.5})


def test_the_truth_of_offer_and_disparity_are_the_means_of_the_hazards(world: Path) -> None:
    offer, disparity = _truth(world, "offer"), _truth(world, "disparity")
    for segment, *means in _rows(world, "SELECT segment, avg(hazard), avg(hazard_with_offer) FROM {hazard} GROUP BY 1"):
        stated = offer["by_segment"][segment]
        assert [stated["mean_hazard"], stated["mean_hazard_with_offer"]] == pytest.approx(means)
        assert stated["mean_effect"] == pytest.approx(means[1] - means[0])
    for protected, mean in _rows(world, "SELECT protected, avg(hazard) FROM {hazard} GROUP BY 1"):
        assert disparity["inside" if protected else "outside"]["mean_hazard"] == pytest.approx(mean)


def test_an_offer_changes_only_the_fate_of_those_who_receive_it() -> None:
    settings = SubscriptionSettings(customers=3_000)
    left, offered_life = Life(settings, 0), Life(settings, 0)
    for _ in range(3):
        left.advance()
        offered_life.advance()
    offered = np.arange(3_000) % 2 == 0
    without, with_offer = left.advance().hazard.to_pandas(), offered_life.advance(offered).hazard.to_pandas()
    received = without["customer_id"].to_numpy() % 2 == 1  # the first customer is number 1
    assert (without["cancelled"] == with_offer["cancelled"])[~received].all()
    helped = without["segment"] != "business"
    saved = without["cancelled"] & ~with_offer["cancelled"]
    assert saved.sum() > 0
    assert (received & helped)[saved].all()


@pytest.mark.parametrize(
    "values",
    [
        {"customers": 1},
        {"customers": 5, "existing_share": 0, "months": 1, "changes": []},
        {"customers": 50, "existing_share": 1, "months": 1, "changes": [], "start_date": "2024-02-01"},
        {"customers": 50, "intercept": 50},
        {"customers": 50, "faults": {"late_rate": 1, "duplicate_rate": 1, "missing_rate": 1, "impossible_rate": 0}},
    ],
)
def test_a_world_at_the_edge_of_its_settings_is_written(values: dict[str, Any], tmp_path: Path) -> None:
    settings = SubscriptionSettings(**values)
    written = generate(settings, tmp_path / "world")
    assert _rows(written.folder, "SELECT count(DISTINCT customer_id) FROM {customers}") == [(settings.customers,)]
    for table, records in written.records.items():
        assert _rows(written.folder, f"SELECT count(*) FROM {{{table}}}") == [(records,)], table


def _fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("fault", "seen"), [(_fail, PantheraError), (_interrupt, KeyboardInterrupt)])
def test_nothing_half_written_remains(
    fault: Callable[..., None], seen: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = generating.write_part
    monkeypatch.setattr(
        generating, "write_part", lambda rows, path: fault() if "tickets" in str(path) else write(rows, path)
    )
    with pytest.raises(seen):
        generate(SubscriptionSettings(customers=50), tmp_path / "world")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_world_of_its_arguments_and_of_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("months: 2\nchanges: []\ncustomers: 7\nfaults: {duplicate_rate: 0}\n")
    folder = tmp_path / "world"
    assert main(["--out", str(folder), "--seed", "5", "--customers", "60", "--settings", str(file)]) == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"{folder}: 60 customer records, ")
    assert "1/1" in output.err
    stated = SubscriptionSettings(**{k: v for k, v in _truth(folder, "settings").items() if k != "format"})
    assert (stated.seed, stated.customers, stated.months) == (5, 60, 2)
