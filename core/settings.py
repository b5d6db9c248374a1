"""Places and secrets, read once from the environment; everything that changes results stands in the plan instead."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PantheraError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The switches with which the tools are told to send no telemetry.
TELEMETRY_OFF = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "FEAST_USAGE": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

#: The environment names that are read here, and nowhere else.
PLAN_ENV = "PANTHERA_PLAN"
STATE_ENV = "PANTHERA_STATE"
DATABASE_URL_ENV = "PANTHERA_DATABASE_URL"
MLFLOW_URL_ENV = "PANTHERA_MLFLOW_URL"
PII_KEY_ENV = "PANTHERA_PII_KEY"
SIGNING_KEY_ENV = "PANTHERA_SIGNING_KEY"
TRUSTED_KEY_ENV = "PANTHERA_TRUSTED_KEY"
ACTOR_ENV = "PANTHERA_ACTOR"
ALLOWED_HOSTS_ENV = "PANTHERA_ALLOWED_HOSTS"
ENVIRONMENT_NAMES = frozenset(
    {
        PLAN_ENV,
        STATE_ENV,
        DATABASE_URL_ENV,
        MLFLOW_URL_ENV,
        PII_KEY_ENV,
        SIGNING_KEY_ENV,
        TRUSTED_KEY_ENV,
        ACTOR_ENV,
        ALLOWED_HOSTS_ENV,
    }
)


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    Attributes
    ----------
    plan : path of the plan file.
    state : folder for everything that is not versioned: the embedded server, bundles, MLflow artifacts.
    database_url : libpq URL of a PostgreSQL server, or None for the embedded one. Never printed.
    mlflow_url : address of an MLflow tracking server, or None to write to our own database. Never printed.
    pii_key : secret with which personal columns are hashed, or None for one of the state folder. Never printed.
    signing_key : the key that signs bundles, or None for the one that the state folder keeps. Never printed.
    trusted_key : the public keys whose bundles are loaded, or None for those that the state folder keeps.
    actor : who acts, as the ledger remembers it, or None to ask git and the operating system.
    allowed_hosts : further names under which the service may be asked, or None for those of the loopback interface.

    """

    plan: Path
    state: Path
    database_url: str | None = field(repr=False)
    mlflow_url: str | None = field(repr=False)
    pii_key: str | None = field(repr=False, default=None)
    signing_key: str | None = field(default=None, repr=False)
    trusted_key: str | None = None
    actor: str | None = None
    allowed_hosts: str | None = None

    @property
    def bundles(self) -> Path:
        """Folder of content-addressed bundles."""
        return self.state / "bundles"


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment`, by default the process's own; an empty value is as good as none."""
    environment = os.environ if environment is None else environment
    return Settings(
        plan=Path(environment.get(PLAN_ENV) or "params.yaml"),
        state=_folder(Path(environment.get(STATE_ENV) or ".panthera").absolute()),
        database_url=environment.get(DATABASE_URL_ENV) or None,
        mlflow_url=environment.get(MLFLOW_URL_ENV) or None,
        pii_key=environment.get(PII_KEY_ENV) or None,
        signing_key=environment.get(SIGNING_KEY_ENV) or None,
        trusted_key=environment.get(TRUSTED_KEY_ENV) or None,
        actor=environment.get(ACTOR_ENV) or None,
        allowed_hosts=environment.get(ALLOWED_HOSTS_ENV) or None,
    )


def _folder(path: Path) -> Path:
    """Refuse a path that some of the tools cannot be given in any way of quoting it."""
    if "\\" in str(path) or not str(path).isprintable():
        raise PantheraError(
            f"the state folder {str(path)!r} has a backslash or a control character in its path; choose a folder without, or "
            f"name one in {STATE_ENV}"
        )
    return path


def silence_telemetry() -> None:
    """Switch off every tool's telemetry for this process and its children, unless the user has said otherwise."""
    for name, value in TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)
