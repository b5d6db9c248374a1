"""The allowed values of a request's Host header, as a protection against DNS rebinding.

In DNS rebinding, a web page of another origin resolves its own name to this machine, and the browser sends that name as the
Host. A name that is not allowed is therefore refused. The address of the connection itself is always allowed.
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
    """Allowed host names in lower case; `*.example.com` in the setting allows every name that ends in `.example.com`."""

    names: frozenset[str] = _LOOPBACK
    suffixes: tuple[str, ...] = ()
    everything: bool = False

    def allow(self, host: str, local_address: str | None) -> bool:
        """Return whether a request with the Host `host`, on a connection to `local_address`, is allowed."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = _normalised(match[1] or match[2])
        return (
            name in self.names
            or self.everything
            or (local_address is not None and name == _normalised(local_address))
            or name.endswith(self.suffixes)
        )


@lru_cache(1024)
def is_loopback(address: str | None) -> bool:
    """Return whether `address` is one of the loopback interface; an unknown address is not."""
    try:
        return address is not None and ip_address(_normalised(address)).is_loopback
    except ValueError:
        return False


def parse_allowed_hosts(setting: str | None) -> AllowedHosts:
    """Return the names of the loopback interface and those in `setting`, separated by commas or blanks.

    Raises
    ------
    PantheraError
        If one of them is not a host name or an address.

    """
    entries = re.split(r"[\s,]+", (setting or "").strip(" ,"))
    for name in filter(None, entries):
        if name != ANY and not _ALLOWED.fullmatch(name):
            raise PantheraError(
                f"found {name!r} among the allowed hosts (PANTHERA_ALLOWED_HOSTS); expected names or addresses without "
                "port, such as 'predict.example.com' or '*.example.com', separated by commas"
            )
    suffixes = tuple(name[1:].lower() for name in entries if name.startswith("*."))
    names = {_normalised(name.strip("[]")) for name in entries if name and not name.startswith("*")}
    return AllowedHosts(_LOOPBACK | names, suffixes, ANY in entries)


@lru_cache(1024)
def _normalised(name: str) -> str:
    """Return the canonical form of a name or an address: lower case, no trailing dot, IPv4 instead of mapped IPv6."""
    try:
        address = ip_address(name)
    except ValueError:
        return name.lower().removesuffix(".")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
