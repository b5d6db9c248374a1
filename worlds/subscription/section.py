"""The base class of all sections of the settings.

The modules of the settings do not postpone annotations, because pydantic reads them at run time.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: A probability.
Rate = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of the settings: frozen, without unknown keys, with finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def require_known(field: str, names: tuple[str, ...], known: tuple[str, ...], noun: str) -> None:
    """Refuse the first of `names` that is not in `known`."""
    for name in names:
        if name not in known:
            raise ValueError(f"{field}: unknown {noun} {name!r}; expected one of {', '.join(known)}")
