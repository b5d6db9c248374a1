"""Arguments of the verbs: an instant that has not come is refused before anything is opened."""

from __future__ import annotations

import pytest

from panthera.cli import main


@pytest.mark.parametrize(
    "verb", [["catch-up"], ["features", "diff"], ["cohorts"], ["drift"], ["parity"], ["performance"]], ids=" ".join
)
def test_no_verb_takes_an_instant_of_the_future(
    verb: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["panthera", *verb, "--as-of", "2150-01-01"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "2150-01-01 00:00 is in the future; the clock says " in capsys.readouterr().err
