"""`panthera retrain`: run the stages on the sources as they are now, and give a better release the role of challenger.

The champion answers all the while: `register` changes roles in one transaction, and during a retraining it never replaces the
champion. The beginning and the end are rows of `panthera.retraining_event`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PantheraError, ReleaseError
from core.files import write_whole
from core.plan.file import parse_plan
from core.plan.text import read_text
from core.postgres.advisory_locks import Lock, try_hold_while_connected
from core.postgres.database import connect, ensure_database
from core.roles import CHALLENGER, CHAMPION
from core.terminal import terminal_table
from models.bundles.revisions import actor
from models.releases import ledger
from models.releases.retrainings import Event, end_if_open, enter_event, latest_events
from models.releases.verbs import plain_reason
from monitoring.rounds.record import recorded_rounds
from monitoring.rounds.rules import Decision
from monitoring.verbs import in_role
from panthera.retraining.plan_instants import moved_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import psycopg
    from rich.table import Table

    from core.plan.plan import Plan
    from core.settings import Settings


@dataclass(frozen=True)
class Retrained:
    """A retraining that has ended.

    Attributes
    ----------
    outcome : `challenger`: the new release has that role. `no_role`: the gate refused it, or a person's challenger stays.
        `unchanged`: the sources, the plan and the code led to the same release.
    release_id : the new release; the champion if nothing changed.
    reason : the gate's words, or why nothing changed.
    data_revision, data_revision_before : of the new release, and of the champion when the retraining began.

    """

    model: str
    champion: str | None
    challenger: str | None
    outcome: Event
    release_id: str | None
    reason: str
    data_revision: str
    data_revision_before: str

    @property
    def is_challenger(self) -> bool:
        """Whether the new release is the challenger now."""
        return self.outcome == "challenger"

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""
        return asdict(self)

    def table(self) -> Table:
        """Return a terminal table of the result."""
        table = terminal_table("", "", title=f"Retraining of {self.model}: {self.outcome.replace('_', ' ')}")
        table.show_header = False
        rows = {
            "release": self.release_id,
            "because": self.reason,
            "data": f"{self.data_revision} (the champion's: {self.data_revision_before})",
            "champion": self.champion,
            "challenger": self.challenger,
            "next": "start `panthera shadow --follow`, unless it runs; `panthera cohorts` and `panthera monitor` compare it"
            if self.is_challenger
            else None,
        }
        for name, text in rows.items():
            if text:
                table.add_row(name, text)
        return table


def retrain(
    settings: Settings,
    data: Path,
    why: str,
    until: datetime | None = None,
    *,
    run: Callable[[Settings, Plan, Path], None],
) -> Retrained:
    """Run the stages and return what became of the new release.

    Parameters
    ----------
    until : the instant until which the sources are observed now; the plan file's instants move with it. None: they stay.
    run : runs the stages.

    Raises
    ------
    PantheraError
        If there is no champion, the last round of monitoring blocked, another retraining is running, the plan does not hold
        with its new instants, or a stage fails. The roles are then unchanged.

    """
    reason = plain_reason(why)
    text = _plan_text(settings, until)
    plan = parse_plan(text, str(settings.plan))
    url, model, who = ensure_database(settings), plan.register_.model, actor(settings, Path.cwd())
    with connect(url) as connection:
        champion = in_role(connection, model, CHAMPION)
        _refuse_broken_data(connection, model)
    with _alone(url, model), _recorded(url, model, champion.release_id, reason, who):
        if until is not None:
            write_whole(settings.plan.resolve(), text)  # the plan of a project folder is a link
        run(settings, plan, data)
    return _result(url, model, champion.data_revision)


def _plan_text(settings: Settings, until: datetime | None) -> str:
    text = read_text(settings.plan)
    return text if until is None else moved_until(text, until)


def _refuse_broken_data(connection: psycopg.Connection, model: str) -> None:
    last = recorded_rounds(connection, model, 1)
    if last and last[0].decision == Decision.BLOCK:
        raise ReleaseError(
            f"the last round of monitoring (as of {last[0].as_of:%Y-%m-%d %H:%M} UTC) blocked: {last[0].reasons[0]}; mend the "
            "data, and run `panthera monitor` until it does not block"
        )


@contextmanager
def _alone(url: str, model: str) -> Iterator[None]:
    """Hold the lock on retrainings of `model` for the length of the block, or refuse."""
    with connect(url) as connection:
        if not try_hold_while_connected(connection, Lock.RETRAINING, model):
            began = latest_events(connection, model, 1)
            since = f" since {began[0].happened_at:%Y-%m-%d %H:%M} UTC, by {began[0].actor}" if began else ""
            raise ReleaseError(f"a retraining of {model!r} is running{since}; wait until it has ended")
        connection.commit()
        yield


@contextmanager
def _recorded(url: str, model: str, champion: str, reason: str, who: str) -> Iterator[None]:
    """Write the beginning and, if `register` has not, the end of a retraining; one that was killed counts as interrupted."""
    with connect(url) as connection:
        end_if_open(connection, model, "interrupted", None, "its process ended before the stages did", who)
        enter_event(connection, model, "began", champion, reason, who)
    event: Event = "interrupted"
    words = "it was stopped; the roles are unchanged"
    try:
        yield
        event, words = "unchanged", "nothing has changed since the last run of the stages"
    except PantheraError as error:
        event, words = "failed", str(error)
        raise
    finally:
        with connect(url) as connection:
            end_if_open(connection, model, event, champion, words, who)


def _result(url: str, model: str, before: str) -> Retrained:
    with connect(url) as connection:
        last = latest_events(connection, model, 1)[0]
        roles = ledger.roles(connection, model)
        release = ledger.find_release(connection, last.release_id) if last.release_id else None
    return Retrained(
        model=model,
        champion=roles[CHAMPION],
        challenger=roles[CHALLENGER],
        outcome=last.event,
        release_id=last.release_id,
        reason=last.reason,
        data_revision=release.data_revision if release else before,
        data_revision_before=before,
    )
