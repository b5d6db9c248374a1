"""Whether a prediction would be answered now, found out the way a prediction goes: read, and be able to log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.errors import PantheraError
from serving.wire.problems import public_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.contracts import Key
    from serving.runtime import Ready

#: A verdict holds for this long, so that nobody can make the checks a load.
_SECONDS = 1.0
#: An entity to ask about; there need not be one.
_NOBODY: dict[str, Key] = {"int64": 0, "string": "-"}


class Readiness:
    """The checks of one event loop; whoever asks while one runs shares it."""

    def __init__(self, ready: Callable[[], Ready], key_dtype: str) -> None:
        self._ready = ready
        self._nobody = _NOBODY[key_dtype]
        self._verdict: asyncio.Task[str | None] | None = None
        self._until = 0.0

    async def fault(self) -> str | None:
        """Return why no prediction would be answered, or None if one would."""
        try:
            ready = self._ready()
        except PantheraError as error:
            return public_message(error)
        now = asyncio.get_running_loop().time()
        if self._verdict is None or (self._verdict.done() and now >= self._until):
            self._until = now + _SECONDS
            self._verdict = asyncio.create_task(self._check(ready))
        return await asyncio.shield(self._verdict)

    async def _check(self, ready: Ready) -> str | None:
        try:
            await ready.connections.facts.read(ready.active.handle, [self._nobody], None)
            await ready.connections.log.check()
        except PantheraError as error:
            return public_message(error)
        return None
