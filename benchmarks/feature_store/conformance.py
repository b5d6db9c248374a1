"""Run Feast's universal test suite, unmodified, over this project's stores; print each failure with its reason.

Run it as `make conformance SUITE=FOLDER`, where FOLDER is `sdk/python/tests` of a checkout of Feast. The suite finds the stores
by its environment variable FULL_REPO_CONFIGS_MODULE, which names `benchmarks.feature_store.conformance_stores`. A failure that
is not in `KNOWN` fails the run, as does a test in `KNOWN` that passes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import psycopg

from benchmarks.scratch_server import scratch_server
from core.settings import DATABASE_URL_ENV, STATE_ENV

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The suite's modules that test an online or an offline store.
MODULES = (
    "integration/offline_store/test_feature_logging.py",
    "integration/offline_store/test_non_entity_mode.py",
    "integration/offline_store/test_offline_write.py",
    "integration/offline_store/test_persist.py",
    "integration/offline_store/test_push_features_to_offline_store.py",
    "integration/offline_store/test_universal_historical_retrieval.py",
    "integration/offline_store/test_universal_materialization.py",
    "integration/offline_store/test_universal_types.py",
    "integration/online_store/test_push_features_to_online_store.py",
    "integration/online_store/test_universal_e2e.py",
    "integration/online_store/test_universal_online.py",
    "integration/online_store/test_universal_online_types.py",
    "integration/materialization/test_universal_materialization.py",
    "integration/registration/test_inference.py",
    "integration/registration/test_universal_odfv_feature_inference.py",
)
#: Selects all tests but those that start the server of another store.
_OF_ANOTHER_STORE = "not dynamo and not milvus and not pgvector and not elasticsearch"
#: Known failures and their reasons, by the name of the test.
KNOWN = {
    "test_odfv_write_methods": "reads a value older than its view's ttl; this store returns none, by design",
    "test_non_entity_mode_preserves_multiple_timestamps": (
        "expects 0.1 of a feature declared Float32, which holds 0.1 to 7 digits; Feast's own file store fails it too"
    ),
}
_PASSED = "passed"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one test: `passed`, `failed` or `skipped`, and the first line of its message."""

    test: str
    status: str
    message: str

    @property
    def function(self) -> str:
        """The name of the test's function."""
        return self.test.partition("[")[0]


def is_suite(folder: Path) -> bool:
    """Return whether `folder` is the package `tests` of Feast."""
    return folder.name == "tests" and (folder / "universal").is_dir()


def environment(suite: Path, extras: Path, url: str, state: Path) -> dict[str, str]:
    """Return the environment in which the suite imports itself as `tests`, and this project's stores."""
    paths = [str(suite.parent), str(extras), str(Path.cwd())]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "FULL_REPO_CONFIGS_MODULE": "benchmarks.feature_store.conformance_stores",
        "FEAST_IS_LOCAL_TEST": "True",
        DATABASE_URL_ENV: url,
        STATE_ENV: str(state),
    }


def run_suite(suite: Path, report: Path, environment: Mapping[str, str], options: Iterable[str]) -> None:
    """Run the suite's modules; pytest writes `report`."""
    modules = [str(suite / module) for module in MODULES if (suite / module).exists()]
    command = [sys.executable, "-m", "pytest", *modules, "-c", str(suite.parent / "pytest.ini"), "--integration", "-q"]
    switches = ["-n", "0", "-p", "no:randomly", "-k", _OF_ANOTHER_STORE, f"--junitxml={report}", *options]
    subprocess.run([*command, *switches], cwd=suite.parent, env=dict(environment), check=False)


def outcomes(report: Path) -> list[Outcome]:
    """Read the outcomes of the tests from a JUnit report."""
    cases = ET.parse(report).iter("testcase")  # noqa: S314 - pytest wrote it just now
    return [_outcome(case) for case in cases]


def _outcome(case: ET.Element) -> Outcome:
    name = case.get("name", "")
    for element in case:
        if element.tag in {"failure", "error", "skipped"}:
            message = element.get("message", "").strip().splitlines() or [""]
            return Outcome(name, "skipped" if element.tag == "skipped" else "failed", message[0])
    return Outcome(name, _PASSED, "")


def summarize(found: list[Outcome], left: list[str]) -> tuple[list[str], bool]:
    """Return the lines to print, and whether the run is as expected; `left` are the tables that no teardown dropped."""
    counts = Counter(each.status for each in found)
    failed = [each for each in found if each.status == "failed"]
    unknown = [each for each in failed if each.function not in KNOWN]
    missing = sorted(set(KNOWN) - {each.function for each in failed})
    lines = [f"{each.test}: {KNOWN.get(each.function, f'NOT KNOWN: {each.message}')}" for each in failed]
    lines += [f"{name}: is in KNOWN and did not fail; remove it from KNOWN" for name in missing]
    lines += [f"{name}: this table was left after every teardown" for name in left]
    lines.append(f"{counts[_PASSED]} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return lines, bool(found) and not (unknown or missing or left)


def tables_left(url: str) -> list[str]:
    """Return the online tables of a database."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'online'::regnamespace ORDER BY 1"
        ).fetchall()
    return [name for (name,) in found]


def main() -> None:
    """Run the suite; exit with 1 unless the known failures are the only ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path, help="folder of Feast's tests: sdk/python/tests of a checkout")
    parser.add_argument("--extras", type=Path, required=True, help="folder of the packages that the suite imports")
    parser.add_argument("options", nargs="*", help="further options of pytest")
    arguments = parser.parse_args()
    suite = arguments.suite.resolve()
    if not (suite / "universal").is_dir() or suite.name != "tests":
        parser.error(
            f"{suite} is not the folder of Feast's tests; expected .../sdk/python/tests with `universal` in it"
        )
    with scratch_server("conformance") as (url, folder):
        report = folder / "report.xml"
        run_suite(
            suite, report, environment(suite, arguments.extras.resolve(), url, folder / "state"), arguments.options
        )
        if not report.exists():
            parser.error("pytest wrote no report: see what it printed above")
        lines, held = summarize(outcomes(report), tables_left(url))
    print("\n".join(lines))
    sys.exit(not held)


if __name__ == "__main__":
    main()
