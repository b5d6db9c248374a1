"""A folder in which another plan runs: links to this checkout's code, and nothing of anybody else's is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import PantheraError, PlanError
from panthera.project_folder import PACKAGES, PIPELINE, default_folder, enter_project, make_project

ROOT = Path(__file__).parents[2]
GYM = ROOT / "tests" / "e2e" / "gym.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_project(GYM, tmp_path / "gym")
    return tmp_path / "gym"


def test_the_plan_and_every_file_of_the_code_are_links(folder: Path) -> None:
    assert (folder / "params.yaml").resolve() == GYM
    modules = {file.relative_to(ROOT) for name in PACKAGES for file in (ROOT / name).rglob("*.py")}
    wanted = modules | {Path("feature_repo/feature_store.yaml"), *(Path(name) for name in PIPELINE)}
    assert {file for file in wanted if (folder / file).resolve() != ROOT / file} == set()


def test_dvc_has_a_repository_of_its_own_there(folder: Path) -> None:
    assert "no_scm = true" in (folder / ".dvc" / "config").read_text()


def test_making_it_again_keeps_what_the_project_wrote_and_drops_links_to_what_is_gone(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "kept").write_text("kept")
    (folder / "core" / "gone.py").symlink_to(ROOT / "core" / "gone.py")
    make_project(ROOT / "params.yaml", folder)
    assert (folder / "data" / "kept").read_text() == "kept"
    assert not (folder / "core" / "gone.py").is_symlink()
    assert (folder / "params.yaml").resolve() == ROOT / "params.yaml"


def test_a_folder_with_a_plan_of_its_own_gets_new_links_and_keeps_the_plan(folder: Path) -> None:
    plan = folder / "params.yaml"
    text = plan.read_text()
    plan.unlink()
    plan.write_text(text)
    (folder / "feature_repo" / "ingest.py").unlink()
    make_project(plan, folder)
    assert (folder / "feature_repo" / "ingest.py").samefile(ROOT / "feature_repo" / "ingest.py")
    assert not plan.is_symlink()
    with pytest.raises(PantheraError, match="has a plan of its own"):
        make_project(ROOT / "params.yaml", folder)
    assert plan.read_text() == text


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(PantheraError, match="is neither empty nor a project folder"):
        make_project(GYM, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def test_the_checkout_itself_is_refused() -> None:
    with pytest.raises(PantheraError, match="choose another folder"):
        make_project(GYM, ROOT)


def test_a_plan_that_is_not_sound_makes_no_folder(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("project: 1\n")
    with pytest.raises(PlanError):
        make_project(tmp_path / "plan.yaml", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_folder_of_a_plan_is_named_by_its_project(tmp_path: Path) -> None:
    assert default_folder(GYM, tmp_path) == tmp_path / "projects" / "gym-attendance"


def test_who_enters_a_project_leaves_the_plan_and_state_of_the_other_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PANTHERA_PLAN", "other.yaml")
    monkeypatch.setenv("PANTHERA_STATE", "elsewhere")
    enter_project(GYM, tmp_path / "gym")
    assert Path.cwd() == tmp_path / "gym"
    assert not {"PANTHERA_PLAN", "PANTHERA_STATE"} & set(os.environ)
