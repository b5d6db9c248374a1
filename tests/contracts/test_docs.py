"""The pages of the documentation: what they link to and name is there."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from core.plan.yaml_text import load_yaml
from panthera.cli import _parser
from panthera.plan_schema import plan_schema

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
#: Pages at the root that belong to the documentation.
ALL = [*PAGES, *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]
PACKAGES = ("core", "feature_repo", "models", "monitoring", "panthera", "planner", "serving", "worlds", "benchmarks")

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PATH = re.compile(rf"(?:{'|'.join((*PACKAGES, 'tests', 'docs'))})/[\w/.-]*")
_MODULE = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.[a-z_]\w*)+")
_PARSER = _parser()


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose_of(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    return _BLOCK.sub("", page.read_text())


def anchors_of(page: Path) -> set[str]:
    """List the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def is_module(dotted: str) -> bool:
    """Say whether `dotted` names a module, or something that a module says in its text."""
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module, _, name = dotted.rpartition(".")
    places = [(ROOT / module.replace(".", "/")).with_suffix(".py"), ROOT / module.replace(".", "/") / "__init__.py"]
    return any(place.is_file() and re.search(rf"\b{name}\b", place.read_text()) for place in places)


def commands_of(text: str) -> list[str]:
    """List the commands of `panthera` that a block of shell lines runs."""
    lines = text.replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in re.split(r"&&|\|\||;| \| |(?:^| )#", line)]
    return [part for part in parts if part.startswith("panthera ")]


def named_verb(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of the verb that `words` begin with, and what follows it."""
    parser, rest = _PARSER, words
    while rest and (actions := [act for act in parser._actions if isinstance(act, argparse._SubParsersAction)]):
        if rest[0] not in actions[0].choices:
            break
        parser, rest = actions[0].choices[rest[0]], rest[1:]
    return parser, rest


def unknown_words(command: str) -> list[str]:
    """List the verb, or the options, of a command in running text that `panthera` does not know."""
    words = command.replace("…", " ").replace("...", " ").split()[1:]
    parser, rest = named_verb(words)
    if parser is _PARSER and words and not words[0].startswith("-"):
        return words[:1]
    options = {option for action in parser._actions for option in action.option_strings}
    return [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options]


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    missing = []
    for target in _LINK.findall(prose_of(page)):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        if not found.exists() or (anchor and anchor not in anchors_of(found)):
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_every_file_and_module_that_a_page_names_is_there(page: Path) -> None:
    named = _CODE.findall(prose_of(page))
    files = [name for name in named if _PATH.fullmatch(name) and not (ROOT / name).exists()]
    modules = [name for name in named if _MODULE.fullmatch(name) and not is_module(name)]
    assert files + modules == []


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_every_verb_and_option_that_a_page_names_is_there(page: Path) -> None:
    named = [code for code in _CODE.findall(prose_of(page)) if code.startswith("panthera ")]
    assert {code: found for code in named if (found := unknown_words(code))} == {}


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_every_command_of_a_block_is_one_that_the_command_line_reads(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, block in _BLOCK.findall(page.read_text()):
        for command in commands_of(block) if kind in {"bash", "text"} else ():
            try:
                _PARSER.parse_args(shlex.split(command)[1:])
            except SystemExit:
                pytest.fail(f"{command}: {capsys.readouterr().err}")


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_every_target_of_make_and_variable_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    blocks = "\n".join(block for kind, block in _BLOCK.findall(text) if kind in {"bash", "text"})
    made = {*re.findall(r"`make ([a-z-]+)", text), *re.findall(r"^make ([a-z-]+)", blocks, flags=re.MULTILINE)}
    code = "".join((ROOT / name).read_text() for name in ("core/settings.py", "docker-compose.yml"))
    variables = set(re.findall(r"\bPANTHERA_[A-Z_]+\b", text))
    assert made - targets == set()
    assert {name for name in variables if name not in code} == set()


def without_required(schema: Any) -> Any:
    """Return a schema that allows parts of sections: a page may show a few keys of one."""
    if isinstance(schema, list):
        return [without_required(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    is_branch = "if" in schema and "then" in schema
    return {
        key: part if is_branch and key == "if" else without_required(part)
        for key, part in schema.items()
        if key != "required"
    }


@pytest.mark.parametrize("page", [page for page in ALL if "```yaml" in page.read_text()], ids=name_of)
def test_every_yaml_block_of_a_page_is_a_part_of_a_plan(page: Path) -> None:
    validator = jsonschema_rs.Draft7Validator(without_required(plan_schema()))
    for kind, block in _BLOCK.findall(page.read_text()):
        raw = load_yaml(block) if kind == "yaml" else None
        faults = [] if raw is None else [error.message for error in validator.iter_errors(raw)]
        assert faults == [], block


def test_every_page_stands_in_the_index() -> None:
    index = set(_LINK.findall((DOCS / "README.md").read_text()))
    pages = {page.name for page in DOCS.glob("*.md")} - {"README.md"}
    assert pages - index == set()


def test_every_decision_stands_in_their_index() -> None:
    index = _LINK.findall((DOCS / "adr/README.md").read_text())
    assert index == sorted(page.name for page in DOCS.glob("adr/0*.md"))


@pytest.mark.parametrize(
    ("command", "unknown"),
    [
        ("panthera features diff --as-of", []),
        ("panthera featurs diff", ["featurs"]),
        ("panthera parity --windw", ["--windw"]),
        ("panthera release show", []),
    ],
)
def test_a_wrong_verb_or_option_is_found(command: str, unknown: list[str]) -> None:
    assert unknown_words(command) == unknown
