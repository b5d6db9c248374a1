"""The names under which the service may be asked, as a request's `Host` says them.

A page of another origin that points its own name at this machine (DNS rebinding) makes a browser send that name, so a
name that nobody allowed is refused. An address cannot be rebound: that of the connection itself is always allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from core.errors import PantheraError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_ALLOWED = re.compile(r"(\*\.)?[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?")
ANY = "*"


@dataclass(frozen=True)
class AllowedHosts:
    """Names in lower case; `*.example.com` in the setting allows every name that ends in `.example.com`."""

    names: frozenset[str] = _LOOPBACK
    suffixes: tuple[str, ...] = ()
    everything: bool = False

    def allow(self, host: str, local_address: str | None) -> bool:
        """Whether a request that says `host`, on a connection to `local_address`, may be answered."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = _plain(found[1] or found[2])
        return (
            name in self.names
            or self.everything
            or (local_address is not None and name == _plain(local_address))
            or name.endswith(self.suffixes)
        )


def parse_allowed_hosts(setting: str | None) -> AllowedHosts:
    """Return the names of the loopback interface and those of `setting`, which commas or blanks separate.

    Raises
    ------
    PantheraError
        If one of them is no name.

    """
    given = re.split(r"[\s,]+", (setting or "").strip(" ,"))
    for name in filter(None, given):
        if name != ANY and not _ALLOWED.fullmatch(name):
            raise PantheraError(
                f"found {name!r} among the allowed hosts (PANTHERA_ALLOWED_HOSTS); expected names or addresses without "
                "port, such as 'predict.example.com' or '*.example.com', separated by commas"
            )
    suffixes = tuple(name[1:].lower() for name in given if name.startswith("*."))
    names = {_plain(name.strip("[]")) for name in given if name and not name.startswith("*")}
    return AllowedHosts(_LOOPBACK | names, suffixes, ANY in given)


@lru_cache(1024)
def _plain(name: str) -> str:
    """Return the one form of a name or an address."""
    try:
        address = ip_address(name)
    except ValueError:
        return name.lower().removesuffix(".")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
