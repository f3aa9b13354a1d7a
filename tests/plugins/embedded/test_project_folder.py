"""Which folder belongs to which project."""

from pathlib import Path

import pytest

from soniq_embedded.project import project_folder, project_root


@pytest.mark.parametrize("marker", ["pyproject.toml", ".git"])
def test_a_project_reaches_down_from_its_marker(tmp_path: Path, marker: str) -> None:
    (tmp_path / marker).touch()
    deep = tmp_path / "src/deep"
    deep.mkdir(parents=True)
    assert project_root(deep) == tmp_path
    assert project_folder(deep) == project_folder(tmp_path)


def test_the_nearest_marker_wins(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "packages/inner"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").touch()
    assert project_root(inner) == inner


def test_a_folder_without_markers_is_a_project_of_its_own() -> None:
    assert project_root(Path("/")) == Path("/")


def test_the_data_lie_in_the_users_data_directory_under_a_readable_name(tmp_path: Path) -> None:
    project = tmp_path / "My Invoices (2)"
    project.mkdir()
    (project / "pyproject.toml").touch()
    folder = project_folder(project)
    assert folder.parent == tmp_path / "xdg/soniq"
    assert folder.name.startswith("my-invoices-2-")


def test_two_projects_of_one_name_do_not_share_data(tmp_path: Path) -> None:
    for name in ("a/app", "b/app"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "pyproject.toml").touch()
    assert project_folder(tmp_path / "a/app") != project_folder(tmp_path / "b/app")


def test_a_link_to_a_project_is_that_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").touch()
    (tmp_path / "link").symlink_to(project)
    assert project_folder(tmp_path / "link") == project_folder(project)
