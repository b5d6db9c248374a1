"""The readiness check: it reads features and checks the log by the same path as a prediction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.errors import PantheraError
from serving.wire.problems import public_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.contracts import Key
    from serving.runtime import Ready

#: A result is cached for this long, so that frequent checks cause no load.
_SECONDS = 1.0
#: The key that is read; the entity need not exist.
_PROBE_KEY: dict[str, Key] = {"int64": 0, "string": "-"}


class Readiness:
    """The readiness checks of one event loop; concurrent requests share one check."""

    def __init__(self, ready: Callable[[], Ready], key_dtype: str) -> None:
        self._ready = ready
        self._probe_key = _PROBE_KEY[key_dtype]
        self._result: asyncio.Task[str | None] | None = None
        self._until = 0.0

    async def fault(self) -> str | None:
        """Return why predictions would fail now, or None if they would succeed."""
        try:
            ready = self._ready()
        except PantheraError as error:
            return public_message(error)
        now = asyncio.get_running_loop().time()
        if self._result is None or (self._result.done() and now >= self._until):
            self._until = now + _SECONDS
            self._result = asyncio.create_task(self._check(ready))
        return await asyncio.shield(self._result)

    async def _check(self, ready: Ready) -> str | None:
        try:
            await ready.connections.facts.read(ready.active.handle, [self._probe_key], None)
            await ready.connections.log.check()
        except PantheraError as error:
            return public_message(error)
        return None
