"""Objects in stores behind `s3://`, `gs://` and `az://` addresses: one, a folder or a glob of them, downloaded completely.

Arrow's own file systems read them, so no further package is needed. Credentials come from the environment, never from a plan.
Without credentials, objects are read anonymously.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from core.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

#: Each read is a request of its own.
_CHUNK = 1 << 26
_SECONDS_TO_CONNECT, _SECONDS, _TRIES = 10.0, 60.0, 3
_ADDRESS = re.compile(r"(s3|gs|az)://(.*)", re.DOTALL)
#: The environment variables of which a store takes its address and its credentials.
_ENVIRONMENT = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN",
}
#: These say that credentials come from a file or a service, which Amazon's library finds.
AWS_CHAIN = ("AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
              "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip
_REFUSED = re.compile(r"ACCESS_DENIED|FORBIDDEN|INVALID_ACCESS_KEY_ID|SIGNATURE|\b40[13]\b|permission", re.IGNORECASE)
#: What a store says of the version of an object, in small letters.
_VERSION_KEYS = ("etag", "generation", "last-modified", "content-length")


def is_object(path: str) -> bool:
    """Return whether the path of a reader is the address of objects in a store."""
    return _ADDRESS.match(path) is not None


@dataclass(frozen=True)
class _Objects:
    """The objects that an address names, in the order of their names."""

    address: str
    scheme: str
    store: Any
    names: list[str]

    def version(self, name: str) -> str:
        """Return the version of an object, from the metadata of the store."""
        with self.store.open_input_stream(name) as content:
            said = {key.lower(): value for key, value in content.metadata().items()}
        key = next((key for key in _VERSION_KEYS if key in said), None)
        return f"{key} {said[key].decode().strip()}" if key else "unknown"


def fetched_objects(address: str, takes: Callable[[PurePosixPath], bool], scratch: Path) -> list[Path]:
    """Download the objects that `address` names to `scratch`; return the files.

    Parameters
    ----------
    takes : whether the reader reads an object in a folder, by its path there.

    Raises
    ------
    SourceError
        If there are none, access is refused, or an object changes during the download.

    """
    with _translated(address):
        objects = _named(address, takes)
        return [_fetched(objects, name, scratch) for name in objects.names]


def _fetched(objects: _Objects, name: str, scratch: Path) -> Path:
    file = scratch / "fetched" / objects.scheme / name
    file.parent.mkdir(parents=True, exist_ok=True)
    version = objects.version(name)
    with objects.store.open_input_stream(name) as content, file.open("wb") as out:
        while chunk := content.read(_CHUNK):
            out.write(chunk)
    if objects.version(name) != version:
        raise SourceError(f"{objects.scheme}://{name} was written while it was read; run again")
    return file


def objects_version(address: str, takes: Callable[[PurePosixPath], bool]) -> str | None:
    """Return the version of the objects that `address` names; None if their store does not answer.

    Raises
    ------
    SourceError
        If there are none.

    """
    try:
        with _translated(address):
            objects = _named(address, takes)
            versions = {name: objects.version(name) for name in objects.names}
    except _UnreachableError:
        return None
    if [*versions] == [address.partition("://")[2]]:
        return next(iter(versions.values()))
    digest = hashlib.sha256(repr(sorted(versions.items())).encode()).hexdigest()
    return f"{len(versions)} objects, sha256 of their versions {digest}"


class _UnreachableError(SourceError):
    """The store does not answer, or refuses the credentials."""


@contextmanager
def _translated(address: str) -> Iterator[None]:
    """Raise a SourceError for any error of a store in the block."""
    scheme = address.partition("://")[0]
    try:
        yield
    except FileNotFoundError:
        raise SourceError(_not_found(address)) from None
    except OSError as error:
        reason = " ".join(str(error).split())
        if _REFUSED.search(reason):
            raise _UnreachableError(
                f"the store of {address} refuses access ({reason}); set {_ENVIRONMENT[scheme]} of a user who may read it"
            ) from None
        raise _UnreachableError(
            f"{address} cannot be fetched ({reason}); try again, or correct it or {_ENVIRONMENT[scheme]}"
        ) from None


def _not_found(address: str) -> str:
    return f"there is no object {address}; put it there or correct the reader's path"


def _named(address: str, takes: Callable[[PurePosixPath], bool]) -> _Objects:
    """Return the objects that an address names; raise SourceError if there are none."""
    from pyarrow import fs

    found = _ADDRESS.match(address)
    scheme, path = found.groups() if found else ("", "")
    path = path.strip("/")
    if not path:
        raise SourceError(f"{address} names no bucket; expected {scheme}://bucket/key: correct the reader's path")
    store = _STORES[scheme](os.environ)
    kind = store.get_file_info(path).type
    if kind == fs.FileType.File:
        return _Objects(address, scheme, store, [path])
    if kind == fs.FileType.Directory:
        inside = _listed(store, path)
        names = [name for name in inside if takes(PurePosixPath(name).relative_to(path))]
        if not names:
            raise SourceError(
                f"{address} has no object of the reader's kind; put one there or name the objects by a glob"
            )
        return _Objects(address, scheme, store, names)
    folder = re.split(r"[*?\[]", path)[0].rpartition("/")[0] if has_magic(path) else ""
    names = [name for name in _listed(store, folder) if _matches(name.split("/"), path.split("/"))] if folder else []
    if not names:
        raise SourceError(_not_found(address))
    return _Objects(address, scheme, store, names)


def _listed(store: Any, folder: str) -> list[str]:
    """Return the names of all objects in a folder and its subfolders."""
    from pyarrow import fs

    found = store.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    return sorted(each.path for each in found if each.type == fs.FileType.File)


def _matches(parts: Sequence[str], glob: Sequence[str]) -> bool:
    """Return whether a name matches a glob, both split at slashes; `**` matches any number of folders."""
    if not glob:
        return not parts
    if glob[0] == "**" and _matches(parts, glob[1:]):
        return True
    rest = glob if glob[0] == "**" else glob[1:]
    return bool(parts) and (glob[0] == "**" or fnmatchcase(parts[0], glob[0])) and _matches(parts[1:], rest)


def _s3(environment: Mapping[str, str]) -> Any:
    from pyarrow import fs

    key, get = environment.get("AWS_ACCESS_KEY_ID"), environment.get
    credentials = {
        "access_key": key,
        "secret_key": get("AWS_SECRET_ACCESS_KEY", ""),
        "session_token": get("AWS_SESSION_TOKEN"),
    }
    anonymous = {"anonymous": True} if not any(map(get, AWS_CHAIN)) else {}
    return fs.S3FileSystem(
        **(credentials if key else anonymous),
        region=get("AWS_REGION") or get("AWS_DEFAULT_REGION"),
        endpoint_override=get("AWS_ENDPOINT_URL_S3") or get("AWS_ENDPOINT_URL"),
        connect_timeout=_SECONDS_TO_CONNECT,
        request_timeout=_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
    )


def _gcs(environment: Mapping[str, str]) -> Any:
    from datetime import timedelta

    from pyarrow import fs

    scheme, _, server = environment.get("STORAGE_EMULATOR_HOST", "").rpartition("://")
    return fs.GcsFileSystem(
        anonymous="GOOGLE_APPLICATION_CREDENTIALS" not in environment,
        endpoint_override=server or None,
        scheme=scheme or ("http" if server else None),
        retry_time_limit=timedelta(seconds=_SECONDS),
    )


def _azure(environment: Mapping[str, str]) -> Any:
    from pyarrow import fs

    account, get = environment.get("AZURE_STORAGE_ACCOUNT"), environment.get
    if not account:
        raise SourceError(
            "the environment variable AZURE_STORAGE_ACCOUNT is not set; set it to the account of the objects"
        )
    return fs.AzureFileSystem(account, account_key=get("AZURE_STORAGE_KEY"), sas_token=get("AZURE_STORAGE_SAS_TOKEN"))


_STORES: dict[str, Callable[[Mapping[str, str]], Any]] = {"s3": _s3, "gs": _gcs, "az": _azure}
