"""What a built wheel and sdist must hold."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.installs import ROOT

FOLDERS = ("schemas", "producer", "consumer", "query", "local", "cli")
SHIPPED = {".py", ".sql", ".json", ".lua"}


@pytest.fixture(scope="module")
def wheel_names(built: tuple[Path, Path]) -> set[str]:
    return set(zipfile.ZipFile(built[1]).namelist())


def test_the_folders_of_the_checkout_are_known() -> None:
    """A folder added to the package is added to the packaging and to these tests."""
    linked = {path.name for path in (ROOT / "src" / "usagepipe").iterdir() if path.is_symlink()}

    assert set(FOLDERS) == linked


def test_every_source_file_is_shipped(wheel_names: set[str]) -> None:
    """No Python, SQL or JSON file of the checkout is missing in the wheel."""
    expected = {
        f"usagepipe/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SHIPPED
    }

    assert set() == expected - wheel_names


def test_every_other_file_of_a_folder_is_known() -> None:
    """A file of a new kind is a decision: shipped as well, or kept out."""
    suffixes = {
        path.suffix
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert set() == suffixes - SHIPPED


def test_nothing_lands_beside_the_package(wheel_names: set[str]) -> None:
    """The wheel fills one folder, `usagepipe`: a top-level `query` would shadow others' modules."""
    tops = {name.split("/")[0] for name in wheel_names}

    assert {"usagepipe", "usagepipe-0.1.0.dist-info"} == tops


def test_the_package_runs_as_a_module(wheel_names: set[str]) -> None:
    """`python -m usagepipe` is the command."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "usagepipe", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "usagepipe/__main__.py" in wheel_names
    assert (0, "usagepipe, version 0.1.0\n") == (ended.returncode, ended.stdout)


def test_the_types_are_shipped(wheel_names: set[str]) -> None:
    """Type checkers of users read our types."""
    assert "usagepipe/py.typed" in wheel_names


def test_the_license_is_shipped(wheel_names: set[str]) -> None:
    """Apache-2.0 asks for its text to go along."""
    assert any(name.endswith("licenses/LICENSE") for name in wheel_names)


def test_the_sdist_holds_no_links(built: tuple[Path, Path]) -> None:
    """The links of the editable install would make each file ship twice."""
    with tarfile.open(built[0]) as sdist:
        assert [] == [member.name for member in sdist if member.islnk() or member.issym()]
