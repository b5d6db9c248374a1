"""How wide a plan may be: what could not be stored or read is refused when the plan is read."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from core.errors import PlanError
from core.plan.file import parse_plan
from core.plan.limits import limit_findings
from core.plan.plan import Plan
from feature_repo.views.definitions import declared_table
from tests.core.plan.shop_plan import FEATURES, SHOP, changed


def sums(count: int) -> dict[str, dict[str, str]]:
    return {f"f_{number}": {"sql": "sum(price)", "dtype": "float64", "unit": "EUR"} for number in range(count)}


def plan_of(*widths: int) -> Plan:
    """Parse a plan with views of so many sums, which all stand in one service, without the checks of what it says."""
    raw = yaml.safe_load(changed({}))
    views: dict[str, Any] = {
        f"view_{number}": {"source": "orders", "ttl": "35d", "every": "1 month", "features": sums(width)}
        for number, width in enumerate(widths)
    }
    raw["build_features"].update(views=views, services={"all_of_it": [f"{name}.*" for name in views]})
    return Plan.model_validate(raw)


def test_a_view_of_more_features_than_are_supported_is_refused_with_the_limit() -> None:
    assert list(limit_findings(plan_of(5_000))) == []
    assert list(limit_findings(plan_of(5_001))) == [
        ("build_features.views.view_0.features", "found 5,001 features; expected at most 5,000 in a view: split it")
    ]


def test_a_plan_that_is_too_wide_is_refused_when_it_is_read() -> None:
    with pytest.raises(
        PlanError, match=r"build_features.views.history.features: found 5,001 features; expected at most"
    ):
        parse_plan(
            changed(
                {FEATURES: {**yaml.safe_load(SHOP)["build_features"]["views"]["history"]["features"], **sums(4_998)}}
            )
        )


@pytest.mark.parametrize(("widths", "read"), [((799, 799), None), ((799, 800), 1_601), ((1_200, 1_200, 984), None)])
def test_a_service_reads_no_more_columns_than_a_statement_has(widths: tuple[int, ...], read: int | None) -> None:
    """Each view has an event time, and a view in arrays has few columns whatever its width."""
    found = [finding for _, finding in limit_findings(plan_of(*widths))]
    assert [finding.split()[1] for finding in found] == ([] if read is None else [f"{read:,}"])


@pytest.mark.parametrize("width", [984, 985])
def test_the_limits_count_arrays_where_the_table_has_them(width: int) -> None:
    """A service of two such views is refused but where both tables are packed."""
    plan = plan_of(width, width)
    assert (not list(limit_findings(plan))) == declared_table(plan, "view_0").is_packed


def test_a_message_lists_some_of_very_many_names() -> None:
    with pytest.raises(PlanError) as refused:
        parse_plan(changed({FEATURES: {"orders": {"sql": "count(*)", "dtype": "int64", "unit": "x"}, **sums(999)}}))
    assert "allowed here: orders, f_0, f_1, " in str(refused.value)
    assert "f_58 and 940 more" in str(refused.value)
