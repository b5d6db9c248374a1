"""Environments and commands of the services that the benchmark and the soak of serving start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.settings import Settings

#: Services of a large release, on a loaded machine.
SECONDS_TO_START = 600


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that give a process these settings."""
    return {
        "PANTHERA_PLAN": str(settings.plan),
        "PANTHERA_STATE": str(settings.state),
        "PANTHERA_DATABASE_URL": settings.database_url or "",
        "BENTOML_HOME": str(settings.state / "bentoml"),
    }


def uvicorn_command(port: int) -> list[str]:
    """Return the command that serves our application by uvicorn alone."""
    application = ["--factory", "serving.app:create_app"]
    return [sys.executable, "-m", "uvicorn", *application, "--port", str(port), "--no-access-log"]
