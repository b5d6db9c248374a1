"""Reading a plan: whatever the text is, it is accepted, or refused with one line for each thing that is wrong."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PlanError
from core.plan.file import parse_plan, read_plan
from tests.core.plan.shop_plan import FEATURES, changed, faults, shop

if TYPE_CHECKING:
    from pathlib import Path


def test_faults_in_several_places_are_told_at_once() -> None:
    assert [line.split(":")[0] for line in faults({"train/seed": "7", "serve/salt": 7})] == [
        "train.seed",
        "serve.salt",
    ]


def test_a_plan_names_no_instant_that_has_not_come(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        changed({"ingest/orders/observed_until": "2150-01-01", "build_features/snapshots/end": "2149-01-01"}), "utf-8"
    )
    with pytest.raises(PlanError) as fault:
        read_plan(file)
    told = [line.removeprefix(f"{file}: ") for line in str(fault.value).splitlines()]
    assert [line.partition(" the clock")[0] for line in told] == [
        "ingest.orders.observed_until: 2150-01-01 00:00 is in the future;",
        "build_features.snapshots.end: 2149-01-01 00:00 is in the future;",
    ]


def test_two_unknown_keys_of_a_section_are_both_named() -> None:
    (line,) = faults({"train/sed": 1, "train/candidate": {}})
    assert "unknown key 'sed'" in line
    assert "unknown key 'candidate'" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a mapping of sections, found NoneType"),
        ("- project", "expected a mapping of sections, found list"),
        ("project: [", "not valid YAML: while parsing a flow node"),
        ("a: 1\nb: 2\na: 3", "not valid YAML: the key 'a' is also in line 1; keep one in line 3, column 1"),
        ("project: {name: a, name: b}", "not valid YAML: the key 'name' is also in line 1; keep one"),
        ("? [a]\n: 1", "not valid YAML: a key must be a word in line 1, column 3"),
        ("as_of: 1998-13-45", "not valid YAML: month must be in 1..12"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML: could not determine a constructor"),
        ("[" * 5000, "not valid YAML: "),
    ],
)
def test_a_text_that_is_no_plan_gives_one_line(text: str, expected: str) -> None:
    with pytest.raises(PlanError) as fault:
        parse_plan(text)
    assert str(fault.value).startswith(f"params.yaml: {expected}")
    assert "\n" not in str(fault.value)


def test_an_absent_plan_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"there is no plan here; run in the project's folder or set PANTHERA_PLAN"):
        read_plan(tmp_path / "params.yaml")


def test_a_folder_or_binary_in_place_of_the_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="the plan cannot be read"):
        read_plan(tmp_path)
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="the plan cannot be read"):
        read_plan(tmp_path / "params.yaml")


def test_the_same_text_gives_the_same_plan() -> None:
    assert shop() == shop()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    st.sampled_from(
        [
            "project",
            "ingest",
            "label",
            "train",
            "train/candidates",
            "serve/arms",
            "validate/orders",
            "ingest/orders/reader",
            "build_features/views",
            FEATURES,
            "materialize/as_of",
        ]
    ),
)
def test_whatever_stands_in_a_section_a_plan_is_accepted_or_refused_and_nothing_else(value: object, path: str) -> None:
    with suppress(PlanError):
        parse_plan(changed({path: value}))
