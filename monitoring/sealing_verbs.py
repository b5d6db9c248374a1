"""`panthera log`: move old days of the prediction log to files, and list them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.experiment.owners import stored_name
from core.json_text import plain
from core.postgres.database import connect, ensure_database
from core.terminal import terminal_table
from models.bundles.revisions import actor
from monitoring.sealed_log import SealTerms, list_sealed, seal_log, sealed_folder

if TYPE_CHECKING:
    from datetime import timedelta

    from rich.table import Table

    from core.plan.plan import Plan
    from core.settings import Settings
    from monitoring.sealed_log import SealedDay


@dataclass(frozen=True)
class SealedLog:
    """Listed files of the sealed log, in `folder`."""

    folder: Path
    files: tuple[SealedDay, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the result in types of JSON."""
        return {"folder": str(self.folder), "files": plain(self.files)}

    def table(self) -> Table:
        """Return the files as a table."""
        table = terminal_table("day", "rows", "file", "sealed by", title=f"Sealed days of the log in {self.folder}")
        for each in self.files:
            table.add_row(str(each.day), f"{each.rows:,}", each.file, each.actor)
        return table


def seal_verb(settings: Settings, plan: Plan, now: datetime, keep: timedelta | None = None) -> SealedLog:
    """Seal all days that are older than `keep`, or else than `serve.keep_log`.

    Raises
    ------
    PantheraError
        If neither says how long rows are kept.

    """
    kept = keep or plan.serve.keep_log
    if kept is None:
        raise PantheraError(
            "the plan does not say how long the log stays in the database; write serve.keep_log, such as 400d, or use --keep"
        )
    model, folder = plan.register_.model, sealed_folder(settings.state, plan.register_.model)
    before = datetime.combine((now - kept).astimezone(UTC).date(), time(), UTC)
    url = ensure_database(settings)
    with connect(url) as connection:
        experiment = stored_name(connection, plan.serve.experiment, model)
    terms = SealTerms(model, experiment, before, now, plan.label.matures_after)
    return SealedLog(folder, tuple(seal_log(url, folder, terms, actor(settings, Path.cwd()))))


def list_verb(settings: Settings, plan: Plan) -> SealedLog:
    """Return the listed files of the plan's model."""
    model = plan.register_.model
    with connect(ensure_database(settings)) as connection:
        return SealedLog(sealed_folder(settings.state, model), tuple(list_sealed(connection, model)))
