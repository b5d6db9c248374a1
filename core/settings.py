"""Paths, addresses and secrets, read once from the environment; everything that changes results is in the plan instead."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PantheraError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Environment variables that switch off the telemetry of the tools.
TELEMETRY_OFF = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "FEAST_USAGE": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

#: The environment variables of the platform; only this module reads them.
PLAN_ENV = "PANTHERA_PLAN"
STATE_ENV = "PANTHERA_STATE"
DATABASE_URL_ENV = "PANTHERA_DATABASE_URL"
MLFLOW_URL_ENV = "PANTHERA_MLFLOW_URL"
PII_KEY_ENV = "PANTHERA_PII_KEY"
SIGNING_KEY_ENV = "PANTHERA_SIGNING_KEY"
TRUSTED_KEY_ENV = "PANTHERA_TRUSTED_KEY"
ACTOR_ENV = "PANTHERA_ACTOR"
ALLOWED_HOSTS_ENV = "PANTHERA_ALLOWED_HOSTS"
API_KEY_ENV = "PANTHERA_API_KEY"
ADMIN_KEY_ENV = "PANTHERA_ADMIN_KEY"
ALERT_WEBHOOK_ENV = "PANTHERA_ALERT_WEBHOOK"
ALERT_MAIL_ENV = "PANTHERA_ALERT_MAIL"
ALERT_SENDER_ENV = "PANTHERA_ALERT_SENDER"
SMTP_URL_ENV = "PANTHERA_SMTP_URL"
LOG_ENV = "PANTHERA_LOG"
OTLP_URL_ENV = "PANTHERA_OTLP_URL"
DEADLINE_ENV = "PANTHERA_DEADLINE_MS"
TLS_CERT_ENV = "PANTHERA_TLS_CERT"
TLS_KEY_ENV = "PANTHERA_TLS_KEY"
JWT_KEYS_ENV = "PANTHERA_JWT_KEYS"
JWT_ISSUER_ENV = "PANTHERA_JWT_ISSUER"
JWT_AUDIENCE_ENV = "PANTHERA_JWT_AUDIENCE"
JWT_SCOPES_ENV = "PANTHERA_JWT_SCOPES"
_LONGEST_DEADLINE = 60_000
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
        API_KEY_ENV,
        ADMIN_KEY_ENV,
        ALERT_WEBHOOK_ENV,
        ALERT_MAIL_ENV,
        ALERT_SENDER_ENV,
        SMTP_URL_ENV,
        LOG_ENV,
        OTLP_URL_ENV,
        DEADLINE_ENV,
        TLS_CERT_ENV,
        TLS_KEY_ENV,
        JWT_KEYS_ENV,
        JWT_ISSUER_ENV,
        JWT_AUDIENCE_ENV,
        JWT_SCOPES_ENV,
    }
)


@dataclass(frozen=True)
class Settings:
    """The settings from the environment.

    Attributes
    ----------
    plan : path of the plan file.
    state : folder for everything that is not versioned: the embedded server, bundles, MLflow artifacts.
    database_url : libpq URL of a PostgreSQL server, or None for the embedded one. Never printed.
    mlflow_url : address of an MLflow tracking server, or None to write to the platform's database. Never printed.
    pii_key : secret for hashing personal columns, or None for the one in the state folder. Never printed.
    signing_key : the key that signs bundles, or None for the one in the state folder. Never printed.
    trusted_key : the public keys whose bundles are loaded, or None for those in the state folder.
    actor : the name recorded in the ledger, or None for the one known to git or the operating system.
    allowed_hosts : additional host names that the service accepts, or None for those of the loopback interface only.
    api_key : the key that this project's clients of the service send, or None. Never printed.
    admin_key : the service's first API key, whose hash `panthera up` stores, or None. Never printed.
    alert_webhook : URL that rounds of monitoring which need attention are posted to, or None. Never printed.
    alert_mail : addresses, separated by commas, that these rounds are mailed to, or None.
    alert_sender : address of the sender of these mails, or None for the first recipient.
    smtp_url : URL of the mail server, `smtp://user:password@host:587` or `smtps://`, or None. Never printed.
    log : form of the service's log: `text`, or `json` with a line for each request.
    otlp_url : base URL of the OpenTelemetry collector that the service sends spans to, or None. Never printed.
    deadline : time limit of a prediction of one entity in seconds; larger requests get a second more per thousand entities.
    tls_certificate, tls_key : PEM files with which the service speaks TLS, or None for one without it.
    jwt_keys : path or https URL of a JWK Set whose keys sign access tokens, or None to accept no tokens.
    jwt_issuer, jwt_audience : the claims `iss` and `aud` that a token must have.
    jwt_scopes : pairs `THEIRS=OURS` that map scopes of tokens to those of API keys, or None if the names are equal.

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
    api_key: str | None = field(default=None, repr=False)
    admin_key: str | None = field(default=None, repr=False)
    alert_webhook: str | None = field(default=None, repr=False)
    alert_mail: str | None = None
    alert_sender: str | None = None
    smtp_url: str | None = field(default=None, repr=False)
    log: str = "text"
    otlp_url: str | None = field(default=None, repr=False)
    deadline: float = 0.5
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    jwt_keys: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_scopes: str | None = None

    @property
    def bundles(self) -> Path:
        """Folder of content-addressed bundles."""
        return self.state / "bundles"


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings from `environment` (default: the process's own); an empty value counts as not set."""
    environment = os.environ if environment is None else environment
    return Settings(
        plan=Path(environment.get(PLAN_ENV) or "params.yaml"),
        state=_checked_folder(Path(environment.get(STATE_ENV) or ".panthera").absolute()),
        database_url=environment.get(DATABASE_URL_ENV) or None,
        mlflow_url=environment.get(MLFLOW_URL_ENV) or None,
        pii_key=environment.get(PII_KEY_ENV) or None,
        signing_key=environment.get(SIGNING_KEY_ENV) or None,
        trusted_key=environment.get(TRUSTED_KEY_ENV) or None,
        actor=environment.get(ACTOR_ENV) or None,
        allowed_hosts=environment.get(ALLOWED_HOSTS_ENV) or None,
        api_key=_secret(environment, API_KEY_ENV),
        admin_key=_secret(environment, ADMIN_KEY_ENV),
        alert_webhook=_secret(environment, ALERT_WEBHOOK_ENV),
        alert_mail=environment.get(ALERT_MAIL_ENV) or None,
        alert_sender=environment.get(ALERT_SENDER_ENV) or None,
        smtp_url=_secret(environment, SMTP_URL_ENV),
        log=_log_form(environment.get(LOG_ENV) or "text"),
        otlp_url=_secret(environment, OTLP_URL_ENV),
        deadline=_deadline(environment.get(DEADLINE_ENV) or "500"),
        tls_certificate=_file(environment, TLS_CERT_ENV),
        tls_key=_file(environment, TLS_KEY_ENV),
        jwt_keys=_secret(environment, JWT_KEYS_ENV),
        jwt_issuer=_secret(environment, JWT_ISSUER_ENV),
        jwt_audience=_secret(environment, JWT_AUDIENCE_ENV),
        jwt_scopes=_secret(environment, JWT_SCOPES_ENV),
    )


def tls_files() -> tuple[Path | None, Path | None]:
    """Return the certificate and the key that the process's environment names, for what is needed at an import."""
    return _file(os.environ, TLS_CERT_ENV), _file(os.environ, TLS_KEY_ENV)


def _file(environment: Mapping[str, str], name: str) -> Path | None:
    return Path(environment[name]).absolute() if environment.get(name) else None


def _secret(environment: Mapping[str, str], name: str) -> str | None:
    """Return a text, such as a secret, without the line end of the file that it may come from."""
    return environment.get(name, "").strip() or None


def _log_form(form: str) -> str:
    if form not in {"text", "json"}:
        raise PantheraError(f"{LOG_ENV} is {form!r}; expected text or json")
    return form


def _deadline(milliseconds: str) -> float:
    try:
        deadline = int(milliseconds)
    except ValueError:
        deadline = 0
    if not 0 < deadline <= _LONGEST_DEADLINE:
        raise PantheraError(
            f"{DEADLINE_ENV} is {milliseconds[:60]!r}; expected milliseconds from 1 to {_LONGEST_DEADLINE}"
        )
    return deadline / 1000


def _checked_folder(path: Path) -> Path:
    """Return `path`; raise PantheraError if it has characters that some of the tools cannot handle, however quoted."""
    if "\\" in str(path) or not str(path).isprintable():
        raise PantheraError(
            f"the state folder {str(path)!r} has a backslash or a control character in its path; choose a folder without, or "
            f"name one in {STATE_ENV}"
        )
    return path


def silence_telemetry() -> None:
    """Switch off every tool's telemetry for this process and its children, unless the environment sets it already."""
    for name, value in TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)
