"""Stage `source_versions`: write the present version of each source, so that a changed source is ingested again.

It runs at every `dvc repro`, before all others, and so refuses a plan with a fault, also one in the SQL of a late section. The
stage `ingest` depends on its receipt. The version of files is a digest of their contents, that of an address comes from the
headers of its server. Sources without a version, such as queries, are printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.entry import run
from core.errors import SourceError
from core.files import read_receipt, write_receipt
from core.plan.file import read_plan
from core.settings import read_settings
from feature_repo.sources.versions import Digests, source_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.plan.ingest import Source


def source_versions(
    sources: Mapping[str, Source], digests: Digests, earlier: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the version of each source, and the names of sources without one, which keep their `earlier` version.

    Raises
    ------
    SourceError
        If a file does not exist or cannot be read.

    """
    versions, untold = dict[str, str](), list[str]()
    for name, source in sources.items():
        try:
            version = source_version(source.reader, digests)
        except SourceError as error:
            raise SourceError(f"ingest.{name}: {error}") from None
        if version is None:
            untold.append(name)
        versions[name] = version or earlier.get(name, "cannot be told")
    return versions, untold


def _earlier(receipt: Path) -> dict[str, str]:
    if not receipt.exists():
        return {}
    sources = read_receipt(receipt, "source_versions").get("sources", {})
    return dict(sources) if isinstance(sources, dict) else {}


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receipt", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    settings = read_settings()
    plan = read_plan(settings.plan)
    digests = Digests(settings.state / "source-digests.json")
    versions, untold = source_versions(plan.ingest, digests, _earlier(arguments.receipt))
    digests.write()
    write_receipt(arguments.receipt, {"sources": versions})
    print(f"source_versions: of {len(versions)} sources")
    if untold:
        print(
            f"source_versions: whether {', '.join(untold)} changed cannot be told; `dvc repro --force ingest` reads the "
            "sources again"
        )


if __name__ == "__main__":
    run(main)
