"""The files in `deploy` against the service: every metric and label that an alert or a panel names is one that it has."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitoring.rounds.metrics_file import round_metrics
from monitoring.rounds.rules import Decision
from serving.gauges import StateGauges
from serving.metrics import Meters

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
RULES = [rule for group in yaml.safe_load((DEPLOY / "prometheus/panthera.rules.yml").read_text())["groups"]
         for rule in group["rules"]]  # fmt: skip
DASHBOARDS = [json.loads(file.read_text()) for file in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))]
PANELS = [panel for dashboard in DASHBOARDS for panel in dashboard["panels"]]
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
}
_SELECTOR = re.compile(r"\b(panthera_\w+|up)\b(?:\{([^}]*)\})?")


def _series() -> dict[str, set[str]]:
    """Map each series that the service can have to its labels."""
    meters = Meters()
    StateGauges(None, meters)  # type: ignore[arg-type]
    series: dict[str, set[str]] = {"up": {"job"}}
    for collector in list(meters.registry._collector_to_names):
        labels = set(collector._labelnames)  # type: ignore[attr-defined]
        for family in collector.describe():  # type: ignore[attr-defined]
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
            for suffix in suffixes:
                series[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return series


def _series_of_rounds() -> dict[str, set[str]]:
    """Map the series that a round writes for rules to their labels."""
    text = round_metrics("churn", datetime(2026, 1, 1, tzinfo=UTC), Decision.HOLD, {}, {"mail": True}).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


SERIES = _series()
#: What rules may name: the series of the service, and those of rounds.
KNOWN = SERIES | _series_of_rounds()


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_the_service_has(name: str) -> None:
    expression = EXPRESSIONS[name]
    selectors = _SELECTOR.findall(expression)
    assert selectors
    labels: set[str] = set()
    for metric, matchers in selectors:
        assert metric in KNOWN
        assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers)) <= KNOWN[metric]
        labels |= KNOWN[metric]
    for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
        assert _words(grouping) <= labels


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do_by_labels_that_are_left(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "action"}
    grouped = {word for found in re.findall(r"\bby \(([^)]*)\)", rule["expr"]) for word in _words(found)}
    kept = {label for metric, _ in _SELECTOR.findall(rule["expr"]) for label in KNOWN[metric]}
    for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
        assert label in (grouped or kept)


def test_every_metric_is_in_a_panel() -> None:
    shown = {
        metric for panel in PANELS for target in panel["targets"] for metric, _ in _SELECTOR.findall(target["expr"])
    }
    families = {re.sub(r"_(bucket|sum|count|total)$", "", metric) for metric in SERIES if metric != "up"}
    assert families == {re.sub(r"_(bucket|sum|count|total)$", "", metric) for metric in shown}


def test_a_legend_names_labels_that_its_expression_leaves() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            grouped = {word for found in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for word in _words(found)}
            kept = grouped or {label for metric, _ in _SELECTOR.findall(target["expr"]) for label in SERIES[metric]}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_the_panels_read_the_data_source_that_is_provisioned_and_do_not_overlap() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS]
    assert len(set(places)) == len(places)


def test_compose_mounts_every_file_where_the_programs_look_for_it() -> None:
    files = {name: ROOT / found["file"] for name, found in COMPOSE["configs"].items()}
    assert sorted(files.values()) == sorted(file for file in DEPLOY.rglob("*") if file.is_file())
    mounted = {found["source"]: found["target"] for name in ("prometheus", "grafana")
               for found in COMPOSE["services"][name]["configs"]}  # fmt: skip
    assert mounted.keys() == files.keys()
    prometheus = yaml.safe_load(files["prometheus"].read_text())
    assert prometheus["rule_files"] == [mounted["rules"]]
    (provider,) = yaml.safe_load(files["dashboards"].read_text())["providers"]
    assert Path(mounted["service_dashboard"]).parent == Path(provider["options"]["path"])
    (job,) = prometheus["scrape_configs"]
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_key"
    assert job["static_configs"] == [{"targets": ["service:3000"]}]
    assert {COMPOSE["services"][name]["profiles"][0] for name in ("prometheus", "grafana")} == {"watch"}
