"""A temporary PostgreSQL server for one run."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.postgres.database import migrate
from core.postgres.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def scratch_server(prefix: str, parent: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Start a migrated server in a temporary folder; yield its URL and the folder, and remove both afterwards."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # the server may run as another user
        server = EmbeddedServer(folder / "server")
        server.start()
        try:
            migrate(server.url)
            yield server.url, folder
        finally:
            server.stop()
