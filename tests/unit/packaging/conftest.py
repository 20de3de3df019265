"""The wheel of this checkout, built once, and an environment with nothing but it."""

from pathlib import Path

import pytest

from tests.support.installs import Install, build


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel."""
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="package")
def bare_install(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Install:
    """The wheel, installed without extras."""
    return Install(tmp_path_factory.mktemp("bare") / "install", built[1])
