"""Change the roles of releases: promote, roll back and retire; each change is an entry of the ledger.

A release has at most one role: a challenger that becomes champion is no longer the challenger. The champion's role is never
vacant after the first promotion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import ReleaseError
from core.roles import CHALLENGER, CHAMPION
from models.releases import ledger

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

    from core.roles import Role
    from models.releases.ledger import Act, LedgerRelease, RoleChange


def promote(connection: psycopg.Connection, release: LedgerRelease, role: Role, act: Act) -> None:
    """Assign `role` to `release`, in the transaction of `connection`.

    Raises
    ------
    ReleaseError
        If the release has the role already, or the champion would become the challenger, or there is no champion to
        challenge.

    """
    ledger.lock_roles(connection, release.model)
    held = ledger.roles(connection, release.model)
    if held[role] == release.release_id:
        raise ReleaseError(
            f"release {release.release_id} is the {role} of {release.model!r} already; nothing was changed"
        )
    if role == CHALLENGER and held[CHAMPION] == release.release_id:
        raise ReleaseError(
            f"release {release.release_id} is the champion of {release.model!r}, expected another release; promote another "
            "one to champion first, or roll back"
        )
    if role == CHALLENGER and held[CHAMPION] is None:
        raise ReleaseError(f"{release.model!r} has no champion to challenge; promote a release to champion first")
    assign_role(connection, release.model, role, release.release_id, act)


def roll_back(connection: psycopg.Connection, model: str, to: str | None, act: Act) -> str:
    """Make an earlier champion the champion again, in the transaction of `connection`; return its id.

    Parameters
    ----------
    to : a release that was champion before; None is the predecessor of the current champion.

    Raises
    ------
    ReleaseError
        If there is no such release, or it is the current champion.

    """
    ledger.lock_roles(connection, model)
    changes = ledger.history(connection, model)
    target = earlier_champion(model, changes) if to is None else _once_champion(model, changes, to)
    assign_role(connection, model, CHAMPION, target, act)
    return target


def retire(connection: psycopg.Connection, release: LedgerRelease, act: Act) -> None:
    """Remove the challenger's role from `release`, in the transaction of `connection`; the role is then vacant.

    Raises
    ------
    ReleaseError
        If the release is not the challenger.

    """
    ledger.lock_roles(connection, release.model)
    held = ledger.roles(connection, release.model)
    if held[CHAMPION] == release.release_id:
        raise ReleaseError(
            f"release {release.release_id} is the champion of {release.model!r}, and only a challenger can be retired: "
            "roll back, or promote another one"
        )
    if held[CHALLENGER] != release.release_id:
        raise ReleaseError(f"release {release.release_id} has no role of {release.model!r}; nothing was changed")
    ledger.appoint(connection, release.model, CHALLENGER, None, act)


def assign_role(connection: psycopg.Connection, model: str, role: Role, release_id: str, act: Act) -> None:
    """Write that a release has `role`; a challenger that becomes champion leaves the challenger's role vacant."""
    ledger.appoint(connection, model, role, release_id, act)
    if role == CHAMPION and ledger.roles(connection, model)[CHALLENGER] == release_id:
        ledger.appoint(connection, model, CHALLENGER, None, act)


def champion_chain(changes: Iterable[RoleChange]) -> list[str]:
    """Return the chain of champions, the current one last; each replaced the one before it.

    A rollback removes the champions that it undoes, so that the next rollback goes further back.
    """
    stack: list[str] = []
    for change in changes:
        if change.role != CHAMPION or change.release_id is None:
            continue
        if change.cause == "rollback" and change.release_id in stack:
            while stack[-1] != change.release_id:
                stack.pop()
        else:
            stack.append(change.release_id)
    return stack


def earlier_champion(model: str, changes: Iterable[RoleChange]) -> str:
    """Return the release that the current champion replaced.

    Raises
    ------
    ReleaseError
        If there is none.

    """
    stack = champion_chain(changes)
    if not stack:
        raise ReleaseError(f"{model!r} has no champion; run `dvc repro`, or `panthera promote` a release")
    if len(stack) == 1:
        raise ReleaseError(f"{stack[0]} is the first champion of {model!r}: there is no earlier one to roll back to")
    return stack[-2]


def _once_champion(model: str, changes: Iterable[RoleChange], release_id: str) -> str:
    champions = [change.release_id for change in changes if change.role == CHAMPION]
    if champions and champions[-1] == release_id:
        raise ReleaseError(f"release {release_id} is the champion of {model!r} already; nothing was changed")
    if release_id not in champions:
        raise ReleaseError(f"release {release_id} was never the champion of {model!r}; use `panthera promote`")
    return release_id
