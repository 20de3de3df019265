"""Builds the wheel and installs it into virtual environments, as users get it.

Everything goes through `uv` with the versions of requirements.txt, so an install takes a second
and never brings in what was not tested.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
UV: Final = (sys.executable, "-m", "uv")
SECONDS: Final = 120


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; its output, and a failed test if it fails and `check` is on."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    inherited.setdefault("UV_SYSTEM_CERTS", "true")  # as pyproject.toml says, from any folder
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=inherited,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if check and ended.returncode:
        raise AssertionError(f"{command} ended with {ended.returncode}\n{ended.stderr}")
    return ended


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist and the wheel. The wheel is made from the sdist, so both file lists are proven."""
    run(sys.executable, "-m", "build", "--installer=uv", "--outdir", folder, ROOT, cwd=folder)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


class Install:
    """A virtual environment of its own with usagepipe in it, outside of the checkout."""

    def __init__(self, folder: Path, *what: str | Path) -> None:
        self.folder: Final = folder
        self.bin: Final = folder / "venv" / "bin"
        folder.mkdir()
        run(*UV, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
        constraints = ROOT / "requirements.txt"
        into = ("--python", self.bin / "python", "--constraint", constraints)
        run(*UV, "pip", "install", "--quiet", *into, *what, cwd=folder)

    def python(self, code: str) -> str:
        """The output of the code in that environment."""
        return run(self.bin / "python", "-W", "error", "-c", code, cwd=self.folder).stdout

    def usagepipe(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """How the installed command ended."""
        return run(self.bin / "usagepipe", *arguments, cwd=self.folder, check=False)
