"""Pseudonyms: the same for the same key, and a key that only its owner reads."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from core.errors import PantheraError
from core.pseudonyms import pii_key, pseudonym
from core.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings


@pytest.fixture
def embedded(tmp_path: Path) -> Settings:
    return read_settings({"PANTHERA_STATE": str(tmp_path)})


def test_a_pseudonym_is_the_published_hmac_of_its_value() -> None:
    # RFC 4231, test case 2.
    assert pseudonym("what do ya want for nothing?", b"Jefe") == "5bdcc146bf60754e6a042426089575c7"


def test_the_embedded_default_makes_a_key_once_and_for_its_owner_alone(embedded: Settings) -> None:
    key = pii_key(embedded)
    assert len(key) == 64
    assert pii_key(embedded) == key
    (file,) = embedded.state.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_key_of_the_environment_comes_first(embedded: Settings) -> None:
    assert pii_key(replace(embedded, pii_key="sixteen letters!")) == b"sixteen letters!"
    assert not list(embedded.state.iterdir())


def test_a_key_that_can_be_guessed_is_refused_without_being_shown(embedded: Settings) -> None:
    with pytest.raises(PantheraError, match="has 7 characters") as refused:
        pii_key(replace(embedded, pii_key="hunter2"))
    assert "hunter2" not in str(refused.value)


def test_a_database_of_the_users_wants_a_key_of_the_users(embedded: Settings) -> None:
    with pytest.raises(PantheraError, match="PANTHERA_PII_KEY is not set"):
        pii_key(replace(embedded, database_url="postgresql://db/x"))
