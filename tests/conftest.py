"""What every test gets: the fixtures of the `fix_*` modules, and a process that sends no telemetry."""

from __future__ import annotations

import os

from core.settings import silence_telemetry

pytest_plugins = ["tests.fix_database"]


def pytest_configure() -> None:
    """Start from an environment that says nothing about this platform."""
    for name in [name for name in os.environ if name.startswith("PANTHERA_")]:
        del os.environ[name]
    silence_telemetry()
