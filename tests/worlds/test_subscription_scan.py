"""The scan for identifiers finds every one that is planted, however it is packed, and nothing where there is none."""

from __future__ import annotations

import gzip
import io
import zipfile
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import PantheraError
from worlds.subscription.scan import Leak, Scanner, scan_files, scan_tables

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose world has two customers, and a file in which nobody is named."""
    customers = {
        "name": ["Ada Brandt", "Hugo Weber"],
        "email": ["ada.brandt.1@mail.example", "hugo.weber.2@mail.example"],
        "phone": ["+999 123456789", None],
    }
    (tmp_path / "world" / "customers").mkdir(parents=True)
    pq.write_table(pa.table(customers), tmp_path / "world" / "customers" / "part-00000.parquet")
    (tmp_path / "report.html").write_text("Customer 1 of Vera Novak, vera.novak.3@mail.example, +999 999999999")
    return tmp_path


@pytest.fixture
def scanner(project: Path) -> Scanner:
    return Scanner(project / "world" / "customers")


def test_sources_and_people_who_are_no_customers_are_no_leak(project: Path, scanner: Scanner) -> None:
    assert list(scan_files(scanner, project)) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Customer Ada Brandt called", "name"),
        ("to=hugo.weber.2@mail.example;", "email"),
        ('{"phone":"+999 123456789"}', "phone"),
    ],
)
def test_an_identifier_is_found_in_a_text_of_any_folder(project: Path, scanner: Scanner, text: str, kind: str) -> None:
    (project / ".panthera" / "logs").mkdir(parents=True)
    (project / ".panthera" / "logs" / "service.log").write_text(text)
    assert list(scan_files(scanner, project)) == [Leak(".panthera/logs/service.log", kind, 1)]


def _parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"note": ["none", "Ada Brandt"]}), sink, compression="zstd")
    return sink.getvalue()


def _zip(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", content)
    return sink.getvalue()


@pytest.mark.parametrize(
    "content",
    [_parquet(), _zip(b"Ada Brandt, " * 3), gzip.compress(b" " * 99 + b"Ada Brandt"), _zip(gzip.compress(_parquet()))],
    ids=["parquet", "zip", "gzip", "parquet in gzip in zip"],
)
def test_an_identifier_is_found_where_it_is_packed(project: Path, scanner: Scanner, content: bytes) -> None:
    (project / "cached").write_bytes(content)
    assert {leak.kind for leak in scan_files(scanner, project)} == {"name"}


def test_an_identifier_is_found_in_any_table(project: Path, scanner: Scanner, database_url: str) -> None:
    assert list(scan_tables(scanner, database_url)) == []
    with psycopg.connect(database_url) as connection:
        connection.execute("""CREATE TABLE online.notes AS SELECT '{"who": "Hugo Weber"}'::jsonb AS note""")
    assert list(scan_tables(scanner, database_url)) == [Leak("table online.notes", "name", 1)]


def test_identifiers_of_another_shape_are_refused_rather_than_overlooked(tmp_path: Path) -> None:
    table = pa.table({"name": ["ada"], "email": [None], "phone": [None]})
    pq.write_table(table, tmp_path / "part.parquet")
    with pytest.raises(PantheraError, match="a name does not match the pattern"):
        Scanner(tmp_path)
