"""A real store of objects with the interface of S3 for the tests: one server for the run."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_PORTS = ("master", "volume", "filer", "s3")
_USERS = {"owner": ["Admin", "Read", "List", "Write"], "lister": ["List"]}
_SECONDS_TO_START = 60


@dataclass(frozen=True)
class ObjectStore:
    """A running store with the bucket `shop`; its `owner` may do all, its `lister` only list; passwords are `right`."""

    files: Any
    environment: dict[str, str]

    def put(self, name: str, content: bytes) -> str:
        """Write an object; return its address."""
        with self.files.open_output_stream(f"shop/{name}") as out:
            out.write(content)
        return f"s3://shop/{name}"


def _free_ports(number: int) -> list[int]:
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _command(folder: Path, ports: list[int]) -> list[str]:
    users = [
        {"name": user, "credentials": [{"accessKey": user, "secretKey": "right"}], "actions": actions}
        for user, actions in _USERS.items()
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": users}))
    stated = [
        f"-{name}.port{kind}={ports.pop()}" for name in _PORTS for kind in ("", ".grpc") if (name, kind) != ("s3", "")
    ]
    own = ("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={folder}/s3.json", "-s3.iam=false")
    # Both have fixed ports, which the servers of two test processes could not share.
    off = ("-s3.port.iceberg=0", "-s3.port.lance=0")
    few = ("-master.volumeSizeLimitMB=64", "-volume.max=20", "-master.telemetry=false")
    return [str(Path(sys.executable).with_name("weed")), "server", f"-dir={folder}", *own, *off, *few, *stated]


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A store that runs until the end of the tests."""
    from pyarrow import fs

    folder = tmp_path_factory.mktemp("objects")
    port, *others = _free_ports(2 * len(_PORTS))
    with (folder / "log").open("wb") as log:
        command = [*_command(folder, others), f"-s3.port={port}"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            address = f"http://127.0.0.1:{port}"
            given = {"access_key": "owner", "secret_key": "right", "region": "us-east-1"}
            files = fs.S3FileSystem(**given, endpoint_override=address, allow_bucket_creation=True)
            _wait_until_it_writes(files, folder / "log")
            environment = {
                "AWS_ENDPOINT_URL": address,
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "owner",
                "AWS_SECRET_ACCESS_KEY": "right",
            }
            yield ObjectStore(files, environment)
        finally:
            process.kill()  # it would take twenty seconds to say farewell
            process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_writes(files: Any, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            files.create_dir("shop")
            with files.open_output_stream("shop/first") as out:
                out.write(b"1")
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the store of objects did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)
        else:
            return
