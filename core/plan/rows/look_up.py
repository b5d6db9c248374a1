"""The key `join` of a source: another source whose columns are added to its rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from core.plan.section import Name, Section

_Keys = dict[Name, Name]


def _same_names(stated: object) -> object:
    """Return one name, or a list of names, as a mapping of names that are the same in both sources."""
    names = [stated] if isinstance(stated, str) else stated
    return {str(name): name for name in names} if isinstance(names, list | tuple) else names


#: The columns of a source that hold the key of another one, each with the name of that column there.
SharedKey = Annotated[
    _Keys,
    Field(min_length=1),
    BeforeValidator(_same_names, json_schema_input_type=Name | list[Name] | _Keys),
]


class LookUp(Section):
    """A source whose columns are joined by a key, which must be unique there."""

    source: Name = ""
    """Source whose columns are joined; without it: the source that has the name of the look-up."""
    key: SharedKey
    """Column of the key in both sources, a list of columns, or a mapping of columns of this source to columns of the other."""


def _by_key_alone(stated: object) -> object:
    return {"key": stated} if isinstance(stated, str | list) else stated


#: A look-up, or only the columns by which it is made.
StatedLookUp = Annotated[LookUp, BeforeValidator(_by_key_alone, json_schema_input_type=Name | list[Name] | LookUp)]
