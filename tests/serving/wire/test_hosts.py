"""Which `Host` a request may name."""

from __future__ import annotations

import pytest

from core.errors import PantheraError
from serving.wire.hosts import parse_allowed_hosts

SETTING = "predict.example.com, *.internal.example.org,10.0.0.7"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:3000",
        "localhost.",
        "127.0.0.1:3000",
        "[::1]:3000",
        "[0:0:0:0:0:0:0:1]",
        "predict.example.com:443",
        "Predict.Example.com",
        "a.b.internal.example.org",
        "10.0.0.7",
        "192.0.2.5:3000",
        "[::ffff:192.0.2.5]",
    ],
)
def test_the_names_of_this_machine_and_of_the_setting_are_allowed(host: str) -> None:
    assert parse_allowed_hosts(SETTING).allow(host, "192.0.2.5")


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example.com",
        "localhost.evil.example.com",
        "evil-localhost",
        "predict.example.com.evil.example.com",
        "internal.example.org",
        "evilinternal.example.org",
        "192.0.2.6",
        "0.0.0.0",  # noqa: S104
        "localhost:port",
        "localhost:3000:3000",
        "localhost@evil.example.com",
        "user@localhost",
        "localhost/evil",
        "localhost\tx",
        "[::1",
        "::1",
        "127.0.0.1, evil.example.com",
        "l\N{GREEK SMALL LETTER OMICRON}calhost",
    ],
)
def test_every_other_name_is_not(host: str) -> None:
    assert not parse_allowed_hosts(SETTING).allow(host, "192.0.2.5")


def test_a_star_allows_every_name_but_nothing_that_is_none() -> None:
    anything = parse_allowed_hosts("*")
    assert anything.allow("evil.example.com", None)
    assert not anything.allow("a b", None)


def test_without_a_setting_the_loopback_names_remain() -> None:
    assert parse_allowed_hosts(None) == parse_allowed_hosts(" , ")
    assert parse_allowed_hosts(None).allow("localhost", None)
    assert not parse_allowed_hosts(None).allow("predict.example.com", None)


@pytest.mark.parametrize("name", ["http://example.com", "example.com:3000", "a.*.com", "exämple.com"])
def test_a_setting_that_is_no_name_is_told(name: str) -> None:
    with pytest.raises(PantheraError, match="PANTHERA_ALLOWED_HOSTS"):
        parse_allowed_hosts(f"good.example.com,{name}")
