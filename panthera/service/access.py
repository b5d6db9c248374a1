"""Who may call the service after `panthera up`: the admin key of the environment, or everybody on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.access.key_table import Change, adopt_admin_key, fetch_keys
from core.postgres.database import connect
from core.settings import ADMIN_KEY_ENV
from models.bundles.revisions import actor

if TYPE_CHECKING:
    from core.settings import Settings

_OPEN = (
    "access: the service is open to every caller on this machine; "
    "`panthera keys create --scope predict --name NAME` closes it to callers without a key"
)


def prepare_access(settings: Settings, url: str) -> list[str]:
    """Store the hash of the admin key in the environment, if there is one; return lines about who may call the service."""
    with connect(url) as connection:
        if settings.admin_key is None:
            return [] if settings.jwt_keys or fetch_keys(connection) else [_OPEN]
        change = Change(actor(settings, Path.cwd()), f"{ADMIN_KEY_ENV} at `panthera up`")
        key = adopt_admin_key(connection, settings.admin_key, change)
    if key.revoked_at is None:
        return [f"access: keys are required; {ADMIN_KEY_ENV} is the key {key.key_id}"]
    return [f"access: keys are required; {ADMIN_KEY_ENV} is the key {key.key_id}, which was revoked and stays so"]
