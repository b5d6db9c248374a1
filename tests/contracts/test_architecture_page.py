"""`docs/architecture.md` against the imports: its table has every arrow between rooms, its picture those that none implies."""

from __future__ import annotations

import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
PACKAGES = ("core", "feature_repo", "models", "monitoring", "panthera", "planner", "serving")

#: Pairs (importing room, imported room).
Arrows = set[tuple[str, str]]


def forwarding_modules() -> set[str]:
    """List the modules of the page's paragraph on earlier addresses."""
    (sentence,) = re.findall(
        r"^Modules of one statement at an earlier address \((.*?)\)", PAGE, re.MULTILINE | re.DOTALL
    )
    return set(re.findall(r"`([\w.]+)`", sentence))


def room_of(module: str) -> str:
    """Name the room of a module: its subpackage, or the package whose top it stands on."""
    package, *names = module.split(".")
    has_room = names and (ROOT / package / names[0] / "__init__.py").is_file()
    return f"{package}.{names[0]}" if has_room else package


def arrows_of_table() -> Arrows:
    rows = re.findall(r"^\| `([\w.]+)` \| [^|]+ \|(.*)\|$", PAGE, flags=re.MULTILINE)
    return {(room, imported) for room, cell in rows for imported in re.findall(r"`([\w.]+)`", cell)}


def arrows_of_picture() -> Arrows:
    (picture,) = (block for block in re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL) if "subgraph" in block)
    found = re.findall(r"^ *(\w+)(?:\[[^\]]+\])? --> (\w+)", picture, flags=re.MULTILINE)
    return {(room.replace("__", "."), imported.replace("__", ".")) for room, imported in found}


def without_implied(arrows: Arrows) -> Arrows:
    """Take out each arrow whose end is also reached over another room."""
    return {
        (start, end)
        for start, end in arrows
        if end not in _reached({room for room in _ends(start, arrows) if room != end}, arrows)
    }


def _ends(start: str, arrows: Arrows) -> set[str]:
    return {end for found, end in arrows if found == start}


def _reached(rooms: set[str], arrows: Arrows) -> set[str]:
    reached: set[str] = set()
    while rooms:
        rooms = {end for room in rooms for end in _ends(room, arrows)} - reached
        reached |= rooms
    return reached


@pytest.fixture(scope="module")
def imports() -> Arrows:
    graph, left_out = grimp.build_graph(*PACKAGES), forwarding_modules()
    assert left_out <= graph.modules
    pairs = {
        (room_of(module), room_of(imported))
        for module in graph.modules - left_out
        for imported in graph.find_modules_directly_imported_by(module) - left_out
    }
    return {(room, imported) for room, imported in pairs if room != imported}


def test_the_table_has_every_arrow_between_rooms_and_no_other(imports: Arrows) -> None:
    assert sorted(arrows_of_table()) == sorted(imports)


def test_the_picture_has_the_arrows_that_do_not_follow_from_others_and_no_other(imports: Arrows) -> None:
    assert sorted(arrows_of_picture()) == sorted(without_implied(imports))


def test_every_room_has_a_line_in_the_table(imports: Arrows) -> None:
    rooms = set(re.findall(r"^\| `([\w.]+)` \| [^|]+ \|.*\|$", PAGE, flags=re.MULTILINE))
    assert rooms == {room for arrow in imports for room in arrow}
    assert len(rooms) > 20


def test_an_arrow_that_follows_from_two_others_is_not_drawn() -> None:
    assert without_implied({("a", "b"), ("b", "c"), ("a", "c")}) == {("a", "b"), ("b", "c")}
