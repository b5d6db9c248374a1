"""A candidate of several parts as one file: an uncompressed zip with constant times, and a JSON outline of its members."""

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
    """Compose the file of `outline`, which must be JSON, and the members by name."""
    stored = {"format_version": FORMAT_VERSION, "members": sorted(members), **outline}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_OUTLINE, ZIP_TIME), json.dumps(stored, sort_keys=True))
        for name, content in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), content)
    return file.getvalue()


def read_parts(content: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the outline and the members of a file of `write_parts`.

    Raises
    ------
    BundleError
        If the format version is another, or the members are not those of the outline.

    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        outline = json.loads(archive.read(_OUTLINE))
        if outline["format_version"] != FORMAT_VERSION:
            raise BundleError(
                f"the model has format version {outline['format_version']}, expected {FORMAT_VERSION}; update, or train again"
            )
        names = sorted(set(archive.namelist()) - {_OUTLINE})
        if names != outline["members"]:
            raise BundleError(
                f"the model has the parts {names}, expected {outline['members']} by its outline; train again"
            )
        return outline, {name: archive.read(name) for name in names}
