"""`docs/promises.md` names a test for each promise, and the test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def promised() -> list[tuple[str, list[tuple[str, str]]]]:
    """List the promises, each with the file and name of the tests that hold it."""
    rows = [line for line in (ROOT / "docs/promises.md").read_text().splitlines() if line.startswith("| ")]
    return [(row, _TEST.findall(row)) for row in rows if not row.startswith(("| promise", "| ---"))]


def functions_of(path: str) -> set[str]:
    """List the names of the functions of a test file."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_promise_names_tests_that_are_there() -> None:
    found = promised()
    assert len(found) > 50
    assert [row for row, tests in found if not tests] == []
    assert [test for _, tests in found for test in tests if test[1] not in functions_of(test[0])] == []
