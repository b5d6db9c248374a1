"""dvc.yaml against the code: DVC follows neither imports nor reads of the plan, so this does."""

from __future__ import annotations

import ast
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grimp
import pytest
import yaml

from core.pipeline.code import PACKAGES, code_of
from core.pipeline.stages import module_of, read_declared, section_values, sections_of
from core.plan.plan import Plan
from core.plan.text import read_sections
from feature_repo.inputs import stage_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "dvc.yaml"
FEATURE_STORE = ROOT / "feature_repo" / "feature_store.yaml"

LAUNCHER = "core.launch"
FIRST = "inputs"
STAGES = read_declared(PIPELINE)
LATER = [stage for stage in STAGES if stage != FIRST]
#: The plan's sections by the attribute that holds them: `validate_` is `validate`.
SECTIONS = {name: field.alias or name for name, field in Plan.model_fields.items()}


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)


def _results(stage: str, *kinds: str) -> dict[str, dict[str, Any]]:
    """Map the paths that a stage lists under `kinds` to their options."""
    listed = [result for kind in kinds for result in STAGES[stage].get(kind, [])]
    return {
        path: options
        for result in listed
        for path, options in (result.items() if isinstance(result, dict) else [(result, {})])
    }


def _module(stage: str) -> str:
    words = STAGES[stage]["cmd"].split()
    assert words[:3] == ["python", "-m", LAUNCHER], (
        f"{stage}: run a module as `python -m {LAUNCHER} MODULE`, as the others"
    )
    return module_of(STAGES[stage])


def _file(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None, f"there is no module {module}"
    assert spec.origin is not None, f"{module} has no file"
    return str(Path(spec.origin).relative_to(ROOT))


def _closure(module: str) -> set[str]:
    return {module, *_graph().find_upstream_modules(module)}


def _stores() -> set[str]:
    """List the modules that Feast imports by name."""
    configuration = yaml.safe_load(FEATURE_STORE.read_text())
    kinds = {configuration[store]["type"] for store in ("offline_store", "online_store", "batch_engine")}
    return {kind.rpartition(".")[0] for kind in kinds}


def _opens_the_feature_store(stage: str) -> bool:
    return "open_store" in _origins(_module(stage))


def _needed_modules(stage: str) -> set[str]:
    needed = _closure(_module(stage)) | _closure(f"{LAUNCHER}.__main__")
    if any(module.startswith("feature_repo.stores.") for module in needed):
        needed |= {module for store in _stores() for module in _closure(store)}
    return needed


@cache
def _code(stage: str) -> dict[str, str]:
    return code_of(_module(stage), ROOT)


def _without_packages(files: Iterable[str]) -> set[str]:
    return {file for file in files if not file.endswith("__init__.py")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_the_module_of_its_name(stage: str) -> None:
    module = _module(stage)
    assert module.split(".")[1:] == [stage]
    tree = ast.parse((ROOT / _file(module)).read_text())
    assert "main" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("stage", LATER)
def test_the_code_of_a_stage_is_every_module_of_ours_that_it_imports_and_the_rooms_of_these(stage: str) -> None:
    needed = {_file(module) for module in _needed_modules(stage)}
    rooms = {"/".join(file.split("/")[:2]) for file in needed if file.count("/") > 1}
    in_rooms = {
        str(path.relative_to(ROOT))
        for room in rooms
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    configuration = {str(FEATURE_STORE.relative_to(ROOT))} if "feature_repo/stores" in rooms else set()
    assert _without_packages(_code(stage)) == _without_packages(needed | in_rooms | configuration)


def test_migrations_are_part_of_the_code_of_a_stage_that_opens_the_database() -> None:
    code = _code("ingest")
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "core/postgres").rglob("*.sql")} <= code.keys()
    assert "core/postgres/pool.py" not in _code("validate")


@pytest.mark.parametrize("stage", LATER)
def test_a_stage_that_opens_the_feature_store_depends_on_its_configuration(stage: str) -> None:
    assert str(FEATURE_STORE.relative_to(ROOT)) in _code(stage) or not _opens_the_feature_store(stage)


@pytest.mark.parametrize("stage", LATER)
def test_a_stage_depends_on_its_own_inputs_and_on_no_code_by_name(stage: str) -> None:
    ours = {dep for dep in STAGES[stage]["deps"] if dep.startswith((*PACKAGES, "data/inputs"))}
    assert ours == {f"data/inputs/{stage}.json"}


def test_the_first_stage_depends_on_all_code_and_on_the_plan() -> None:
    assert set(STAGES[FIRST]["deps"]) == {*PACKAGES, "params.yaml"}


def test_an_import_at_any_place_counts_but_for_types(tmp_path: Path) -> None:
    (tmp_path / "core" / "launch").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    (tmp_path / "core" / "launch" / "__main__.py").write_text("")
    (tmp_path / "core" / "units.py").write_text("")
    (tmp_path / "models" / "fit.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import core.types\n"
        "try:\n    import numpy\nexcept ImportError:\n    pass\n"
        "class Fit:\n    def __call__(self):\n        match self:\n            case _:\n"
        "                with open('x'):\n                    from core import units\n"
    )
    (tmp_path / "core" / "types.py").write_text("")
    assert list(code_of("models.fit", tmp_path)) == ["core/launch/__main__.py", "core/units.py", "models/fit.py"]


PLANS = [ROOT / "params.yaml", *sorted((ROOT / "worlds").rglob("*.yaml"))]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stem)
def test_a_plan_has_its_sections_as_json_in_the_order_of_its_keys(plan: Path) -> None:
    parsed = read_sections(plan)
    values = json.loads(json.dumps(section_values(parsed), allow_nan=False))
    assert list(values["ingest"]) == list(parsed.ingest)
    views = {name: list(view["features"]) for name, view in values["build_features"]["views"].items()}
    assert views == {name: list(view.features) for name, view in parsed.build_features.views.items()}


def test_the_inputs_of_a_stage_differ_with_its_code_or_its_sections_alone() -> None:
    assert set(section_values(read_sections(ROOT / "params.yaml"))) == set(SECTIONS.values())
    texts = [
        stage_inputs({"models/train.py": digest}, {"label": label})
        for digest, label in (("a", 1), ("a", 1), ("b", 1), ("a", 2))
    ]
    assert [text == texts[0] for text in texts] == [True, True, False, False]


@pytest.mark.parametrize("stage", STAGES)
def test_a_dependency_is_a_file_of_ours_or_made_by_an_earlier_stage(stage: str) -> None:
    earlier = list(STAGES)[: list(STAGES).index(stage)]
    made = {made for name in earlier for made in _results(name, "outs", "metrics")}
    for dep in STAGES[stage]["deps"]:
        assert {dep, str(Path(dep).parent)} & made or (not dep.startswith("data/") and (ROOT / dep).exists()), dep


@pytest.mark.parametrize("stage", STAGES)
def test_a_path_on_a_command_line_is_a_dependency_or_is_made(stage: str) -> None:
    known = _results(stage, "deps", "outs", "metrics")
    for word in STAGES[stage]["cmd"].split():
        if word.startswith("data/"):
            assert word in known, word


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_with_a_receipt_is_run_where_dvc_remembers_an_earlier_one(stage: str) -> None:
    for path, options in _results(stage, "outs").items():
        assert options.get("persist", False) == path.startswith(("data/receipts/", "data/ledger/")), path


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_neither_deletes_a_ledger_nor_brings_an_earlier_one_back(stage: str) -> None:
    for path, options in _results(stage, "outs").items():
        if path.startswith("data/ledger/"):
            assert options == {"cache": False, "persist": True}, path


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse((ROOT / _file(module)).read_text())


def _functions(module: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in _tree(module).body if isinstance(node, ast.FunctionDef)}


def _origins(module: str) -> dict[str, tuple[str, str]]:
    """Map each name that `module` imports from a module of ours, at any place, to (module, name there)."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES
        for alias in node.names
    }


def _sections_read(module: str, function: str) -> set[str]:
    """List the sections that `function` reads of its variable `plan`, and those that it hands the plan on for."""
    body = _functions(module)[function]
    sections: set[str] = set()
    for node in ast.walk(body):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "plan":
            sections |= _sections_of(node.attr)
        if isinstance(node, ast.Call):
            handed = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(isinstance(value, ast.Name) and value.id == "plan" for value in handed):
                sections |= _sections_read(*_called(module, node.func))
    return sections


def _called(module: str, function: ast.expr) -> tuple[str, str]:
    if isinstance(function, ast.Name) and function.id in _functions(module):
        return module, function.id
    if isinstance(function, ast.Name) and function.id in _origins(module):
        return _origins(module)[function.id]
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        package, name = _origins(module)[function.value.id]
        return f"{package}.{name}", function.attr
    raise AssertionError(
        f"{module} hands its plan to {ast.unparse(function)}, which cannot be followed; hand on a section"
    )


def _sections_of(attribute: str) -> set[str]:
    """Say which sections are read by reading `attribute` of a plan: itself, or those that a property reads."""
    if attribute in SECTIONS:
        return {SECTIONS[attribute]}
    plan = next(node for node in _tree("core.plan.plan").body if isinstance(node, ast.ClassDef) and node.name == "Plan")
    asked = next(node for node in plan.body if isinstance(node, ast.FunctionDef) and node.name == attribute)
    read = {
        node.attr for node in ast.walk(asked) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    }
    return {section for name in read for section in _sections_of(name)}


def test_the_unit_of_prediction_is_read_from_three_sections() -> None:
    assert _sections_of("unit") == {"entities", "ingest", "label"}


@pytest.mark.parametrize("stage", LATER)
def test_a_stage_names_the_sections_of_the_plan_that_it_reads(stage: str) -> None:
    assert set(sections_of(STAGES[stage])) == _sections_read(_module(stage), "main")


def test_every_section_that_changes_results_is_read_by_a_stage_or_by_what_serves_and_monitors() -> None:
    read = {section for stage in LATER for section in _sections_read(_module(stage), "main")}
    assert set(SECTIONS.values()) - read == {"serve", "monitor"}
