"""What the worker's image installs: the extras of the consumer and of queries."""

from pathlib import Path

import pytest

from tests.support.installs import Install


@pytest.fixture(scope="module")
def worker_install(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Install:
    folder = tmp_path_factory.mktemp("worker") / "install"
    return Install(folder, f"usagepipe[consumer,query] @ {built[1].as_uri()}")


@pytest.mark.parametrize("command", ["migrate", "worker", "usage"])
def test_its_commands_start(worker_install: Install, command: str) -> None:
    """Each command finds all it imports."""
    ended = worker_install.usagepipe(command, "--help")

    assert (0, "") == (ended.returncode, ended.stderr)


@pytest.mark.parametrize("command", ["local", "demo"])
def test_other_commands_name_their_extra(worker_install: Install, command: str) -> None:
    """A command whose libraries are missing says how to get them, with the status of wrong use."""
    ended = worker_install.usagepipe(command, "--help")

    assert 2 == ended.returncode
    assert "pip install 'usagepipe[local]'" in ended.stderr


def test_every_module_of_the_worker_is_found(worker_install: Install) -> None:
    """No module of consumer and query needs what only another extra brings."""
    found = worker_install.python(
        "import importlib, pkgutil, usagepipe.consumer, usagepipe.query\n"
        "for part in (usagepipe.consumer, usagepipe.query):\n"
        "    for module in pkgutil.walk_packages(part.__path__, part.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "print('all')"
    )

    assert "all\n" == found
