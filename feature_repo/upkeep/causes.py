"""The causes of a difference between online and offline values, and the order in which they are looked for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container


class Cause(StrEnum):
    """Why an online row or value differs from its offline counterpart; the first one that holds, in this order, is named.

    - `type`: the value is not of the declared dtype.
    - `future`: a time of the online row is ahead of the clock, so it blocks later rows until then. A full materialization
      replaces it.
    - `restated`: the value equals a snapshot that was online, and the source rows arrived or changed after it.
    - `replayed`: the request was as of a past instant, and the store held a later row.
    - `pushed`: the online row was pushed, or a pushed row had replaced it.
    - `erased`: the entity has an online row and no snapshot.
    - `ahead`: the snapshot's event is after the last run. The next run writes it.
    - `late`: the last run could not know the snapshot: its event is before the run, but it was created after it. The next
      run writes it.
    - `lost`: the last run should have written the snapshot, but the row is absent or older.
    - `value`: none of these. Both rows are of the same times, and a value differs.
    """

    TYPE = "type"
    FUTURE = "future"
    RESTATED = "restated"
    REPLAYED = "replayed"
    PUSHED = "pushed"
    ERASED = "erased"
    AHEAD = "ahead"
    LATE = "late"
    LOST = "lost"
    VALUE = "value"

    @property
    def is_defect(self) -> bool:
        """Whether the platform is at fault; the other causes have a reason outside of it."""
        return self in _DEFECTS


_DEFECTS = (Cause.FUTURE, Cause.LOST, Cause.VALUE)
#: What is wrong with the online row or value on its own, even if it is equal to its counterpart.
_WRONG_ALONE = (Cause.TYPE, Cause.FUTURE)


def cause_of(signs: Container[Cause], *, equal: bool) -> Cause | None:
    """Return the cause of a difference by its signs; None if there is no difference.

    Parameters
    ----------
    signs : the causes whose condition holds. A sign that is named later in `Cause` does not count beside an earlier one.
    equal : whether the online values equal the offline ones.

    """
    candidates = _WRONG_ALONE if equal else Cause
    return next((cause for cause in candidates if cause in signs), None if equal else Cause.VALUE)
