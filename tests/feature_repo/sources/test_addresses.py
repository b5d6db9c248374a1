"""Files behind addresses: read like local ones, told from later versions, and refused by what the server answers."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from core.errors import SourceError
from feature_repo.sources.addresses import address_version
from tests.feature_repo.sources.stranger import raw_rows, stranger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = b"id,seen,amount\n007,2024-01-01,1.5\n"


class _Files(BaseHTTPRequestHandler):
    """Answers with a table, packed or cut off, or with a status that the path names."""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path.isdigit():
            self.send_error(int(path))
            return
        body = gzip.compress(TABLE) if path.endswith(".gz") else TABLE
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 10 * (path == "cut.csv")))
        self.send_header("ETag", f'"{len(path)}"')
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["things.csv", "deep/things.csv.gz", "download?id=7&sign=secret"])
def test_a_file_behind_an_address_gives_its_rows_and_nothing_of_it_stays(
    tmp_path: Path, server: str, path: str
) -> None:
    assert raw_rows(stranger({"kind": "csv", "path": f"{server}/{path}"}), tmp_path) == [("007", "2024-01-01", "1.5")]
    assert not [file for file in (tmp_path / "downloads").rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("404", "answers 404 Not Found: there is no such file"),
        ("401?sign=secret", "answers 401 Unauthorized: the server wants credentials"),
        ("503", "answers 503 Service Unavailable: try again later"),
        ("cut.csv", "cannot be fetched"),
    ],
)
def test_an_answer_that_is_not_the_whole_file_is_refused(tmp_path: Path, server: str, path: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as refused:
        raw_rows(stranger({"kind": "csv", "path": f"{server}/{path}"}), tmp_path)
    assert "secret" not in str(refused.value)
    assert not (tmp_path / "raw" / "things.parquet").exists()


def test_the_version_of_an_address_is_what_its_server_says(server: str) -> None:
    assert address_version(f"{server}/a.csv") == address_version(f"{server}/b.csv") == "[('etag', '\"5\"')]"
    assert address_version(f"{server}/longer.csv") != address_version(f"{server}/a.csv")
    assert address_version(f"{server}/404") is None
