"""What every test gets: the fixtures of the `fix_*` modules, and a process that sends no telemetry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import prometheus_client  # noqa: F401 - before Feast, whose import has it count by files that all of the process share

from core.settings import silence_telemetry

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["tests.fix_database", "tests.fix_downloads", "tests.fix_objects", "tests.fix_project"]


def pytest_configure() -> None:
    """Start from an environment that says nothing about this platform."""
    for name in [name for name in os.environ if name.startswith("PANTHERA_")]:
        del os.environ[name]
    os.environ["PANTHERA_DEADLINE_MS"] = "20000"  # for the services that tests start
    silence_telemetry()
    # A busy machine is no fault of the code.
    hypothesis.settings.register_profile("panthera", deadline=None)
    hypothesis.settings.load_profile("panthera")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their parameter: packed ones may hold the time, and the workers must find the same names."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files, in the random order that they have among themselves."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
