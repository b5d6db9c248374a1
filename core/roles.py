"""The roles of active releases, which are also the arms of an experiment."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

#: The role of a release; the arm of a unit is the role of the release that scores it.
Role: TypeAlias = Literal["champion", "challenger"]
CHAMPION: Final[Role] = "champion"
CHALLENGER: Final[Role] = "challenger"
ROLES: Final[tuple[Role, ...]] = (CHAMPION, CHALLENGER)
