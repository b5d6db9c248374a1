"""What every part of the settings has in common.

The modules of the settings evaluate their annotations at run time because pydantic reads them.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: A probability.
Rate = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the settings: frozen, every key known, every number finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def require_known(field: str, names: tuple[str, ...], known: tuple[str, ...], noun: str) -> None:
    """Refuse the first of `names` that is not in `known`."""
    for name in names:
        if name not in known:
            raise ValueError(f"{field}: unknown {noun} {name!r}; known are {', '.join(known)}")
