"""Arguments of the command line: what cannot be meant is refused in one line, before anything is read."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import PlanError
from core.plan.plan import Entity
from panthera import cli
from panthera.monitor_verbs import end_of_window
from panthera.online_features import key_value

CUSTOMER = Entity(key="customer_id", dtype="int64", source="orders")
MEMBER = Entity(key="member_id", dtype="string", source="orders")


@pytest.mark.parametrize("text", ["17", "+17", "017"])
def test_a_key_is_read_as_the_type_that_the_plan_gives_it(text: str) -> None:
    assert key_value(CUSTOMER, text) == 17
    assert key_value(MEMBER, text) == text


@pytest.mark.parametrize("text", ["abc", "", "1.0", "1_000", "٣", "9223372036854775808", "1e3", "NaN", " 1"])
def test_a_key_of_another_type_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="customer_id is int64 in the plan"):
        key_value(CUSTOMER, text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["promote", "champion", "--why", "clear \x1b[2J"],
        ["promote", "champion", "--why", "two\nlines"],
        ["rollback", "--why", "turned \u202e"],
        ["rollback", "--why", "half \udc80"],
        ["release", "show", "\x9b31m"],
        ["features", "delete", "customer", "\x07"],
        ["releases", "--limit", "-3"],
        ["releases", "--limit", "0"],
        ["releases", "--limit", "99999999999999999999"],
        ["nonsense"],
        [],
    ],
)
def test_an_argument_that_cannot_be_meant_ends_with_2_and_commands_no_terminal(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["panthera", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("panthera")
    assert said.replace("\n", "").isprintable()


def test_a_window_ends_at_the_stated_instant_or_now_and_without_a_length_it_has_no_end() -> None:
    week, stated = timedelta(days=7), datetime(2024, 3, 1, tzinfo=UTC)
    before = datetime.now(UTC)
    assert end_of_window(Namespace(as_of=stated, window=week)) == stated
    assert before <= (end_of_window(Namespace(as_of=None, window=week)) or before - week) <= datetime.now(UTC)
    assert end_of_window(Namespace(as_of=None, window=None)) is None
