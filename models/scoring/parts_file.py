"""A candidate of several parts as one file: a zip without compression or clock, and an outline that says what is in it."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

from core.errors import BundleError
from models.scoring.skops_file import ZIP_TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = 1
_OUTLINE = "outline.json"


def write_parts(outline: Mapping[str, Any], members: Mapping[str, bytes]) -> bytes:
    """Write `outline`, which JSON can hold, and the members by their names."""
    told = {"format_version": FORMAT_VERSION, "members": sorted(members), **outline}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_OUTLINE, ZIP_TIME), json.dumps(told, sort_keys=True))
        for name, content in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), content)
    return file.getvalue()


def read_parts(content: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read what `write_parts` wrote.

    Raises
    ------
    BundleError
        If it is of another format version, or the members are not those that the outline names.

    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        outline = json.loads(archive.read(_OUTLINE))
        if outline["format_version"] != FORMAT_VERSION:
            raise BundleError(
                f"the model has format version {outline['format_version']}, this software reads {FORMAT_VERSION}; train again"
            )
        names = sorted(set(archive.namelist()) - {_OUTLINE})
        if names != outline["members"]:
            raise BundleError(f"the model has the parts {names}, its outline names {outline['members']}")
        return outline, {name: archive.read(name) for name in names}
