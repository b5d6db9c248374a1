"""A plan is read as DVC reads it, or refused with the line that the two would read differently."""

from __future__ import annotations

import math
from datetime import datetime

import pytest
from dvc.utils.serialize import parse_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.plan.yaml_text import load_yaml


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    "word",
    ["on", "Off", "yes", "NO", "010", "0o10", "08", "1e3", "1e-3", "1.0e3", "+.5", "12:30:00", "-1:30", "190:20:30.15"],
)
def test_what_yaml_1_1_and_1_2_read_differently_is_refused_with_its_line(word: str) -> None:
    for text in (f"a: 1\nb: {word}\n", f"a: 1\n{word}: 2\n", f"a: 1\n? [x, {word}]\n: 3\n"):
        with pytest.raises(ValueError, match=r"in YAML 1.1 and .* in YAML 1.2, which DVC reads.* in line 2, column"):
            load_yaml(text)
    assert load_yaml(f"a: '{word}'") == {"a": word}


@pytest.mark.parametrize(
    "text",
    [
        "a: 1_000",
        "a: [true, False, null, ~, .inf, -.Inf, 0x1F, 1., .5, 1.5e+3, 00, 07]",
        "a: 2024-01-01",
        "a: 2024-01-01T10:00:00Z",
        "a: y\nn: no one",
        "base: &base {x: 1, y: 2}\na: {<<: *base, y: 3}",
        "a: &x [1, 2]\nb: *x",
        "7: a\n2.5: b\ntrue: c\nnull: d",
        "a: |\n  on\n  010\nb: >-\n  1e3",
        "a: 'it''s'\nb: \"\\u2028\\t\"",
        "a: !!str on",
    ],
)
def test_what_both_read_alike_is_read(text: str) -> None:
    assert same(load_yaml(text), parse_yaml(text, "params.yaml"))


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: {<<: {x: 1}, <<: {y: 2}}", "a:\tb: 1", "a: 'x\u2028y'", "a: \x85b"])
def test_what_a_reader_would_overwrite_or_cut_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        load_yaml(text)


@given(st.text(st.sampled_from("0123456789_+-.:eExoXbafFnNyYtTrusINFO ~="), max_size=9))
@settings(max_examples=400, deadline=None)
def test_a_scalar_is_refused_or_read_as_dvc_reads_it(word: str) -> None:
    text = f"a: {word}\n"
    try:
        read = load_yaml(text)
    except ValueError:
        return
    assert same(read, parse_yaml(text, "params.yaml"))
