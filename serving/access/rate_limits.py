"""The rate limits of keys: requests per second over all workers of a machine, with one second's requests at once.

The limit is the generic cell rate algorithm: a key has one number, the time up to which its requests are paid for.
The workers share it in a file of eight bytes for each key.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from time import monotonic
from typing import TYPE_CHECKING

from serving.wire.refusals import RateExceeded

if TYPE_CHECKING:
    from pathlib import Path

    from core.access.api_key import ApiKey

_DUE = struct.Struct("=d")
#: Time whose requests may come at once.
_BURST_SECONDS = 1.0
#: Tolerance of the sums of floating-point intervals.
_ROUNDING = 1e-6


class RateLimits:
    """The limits in one worker; without `folder`, which the workers share, the worker counts alone."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._slots: dict[str, mmap.mmap] = {}

    def take(self, key: ApiKey) -> None:
        """Count a request of `key`.

        Two workers that count in the same microsecond may count one request for both. A lock would let a stopped worker
        stop the others.

        Raises
        ------
        RateExceeded
            If the key has no request left.

        """
        if key.rate is None:
            return
        slot, now, interval = self._slot(key.key_id), monotonic(), 1 / key.rate
        due = max(*_DUE.unpack_from(slot), now) + interval
        wait = due - now - max(_BURST_SECONDS, interval)
        if wait > _ROUNDING:
            raise RateExceeded(
                f"the key {key.key_id} has a limit of {key.rate:g} requests per second; try again in {wait:.3g} s",
                math.ceil(wait),
            )
        _DUE.pack_into(slot, 0, due)

    def _slot(self, key_id: str) -> mmap.mmap:
        slot = self._slots.get(key_id)
        if slot is None:
            slot = self._slots[key_id] = _shared(self._folder / f"{key_id}.rate") if self._folder else _own()
        return slot


def _own() -> mmap.mmap:
    return mmap.mmap(-1, _DUE.size)


def _shared(path: Path) -> mmap.mmap:
    """Open the number in a file, which is created with 0.0; if it cannot be, the worker counts alone."""
    try:
        with path.open("ab") as file:
            # A file with a hole would kill the process when the disk is full.
            os.posix_fallocate(file.fileno(), 0, _DUE.size)
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), _DUE.size)
    except OSError:
        return _own()
