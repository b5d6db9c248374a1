"""What tables look like where a user reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.terminal import print_whole, terminal_table

if TYPE_CHECKING:
    import pytest

NAME, LONG = "a_view_with_a_name", "2026-11-26 05:33, 83,867 rows, 13,082 rows/s"


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    table = terminal_table("view", "rows", "last run", numbers=("rows",), title="[dim] of 1:2", caption=":bug: [/red]")
    table.add_row(NAME, "7", LONG)
    table.add_row("other", "1,000", "[bold]never[/never]")
    print_whole(table)
    return capsys.readouterr().out.splitlines()


def test_a_narrow_terminal_cuts_nothing_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    lines = printed(capsys)
    assert max(map(len, lines)) <= 30
    shown = "".join(line[:10].rstrip() for line in lines if line[:10].strip())
    assert NAME in shown
    assert "…" not in "".join(lines)


def test_another_program_gets_whole_rows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    rows = [line for line in printed(capsys) if NAME in line]
    assert [row.split("  ")[0] for row in rows] == [NAME]
    assert rows[0].rstrip().endswith(LONG)


def test_numbers_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys)
    one, thousand = (next(line for line in lines if line.startswith(name)) for name in (NAME, "other"))
    assert one.index(" 7 ") + 2 == thousand.index("1,000") + len("1,000")


def test_what_a_user_wrote_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(printed(capsys))
    for written in ("[dim] of 1:2", ":bug: [/red]", "[bold]never[/never]"):
        assert written in text


def test_text_of_a_user_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table = terminal_table("why\x1b[2J", title="\x1b]0;owned\x07")
    table.add_row("red \x1b[31m, back\u202e, c1 \x9b, grün 漢字 👩‍💻")
    print_whole(table)
    shown = capsys.readouterr().out
    assert "red \\x1b[31m, back\\u202e, c1 \\x9b, grün 漢字 👩‍💻" in shown
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
