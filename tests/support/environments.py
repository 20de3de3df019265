"""Environments of programs whose versions of shared libraries differ from ours.

A file holds the exact versions of one. They are made when first needed, which takes a network.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.support.side_by_side import locked


def python_of(requirements: Path, *beside: Path) -> Path:
    """The interpreter that has what `requirements` lists, and the projects in the folders `beside`
    it (as they stand, without what they ask for).
    """
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:8]
    folder = Path(sys.prefix) / "peers" / f"{requirements.stem}-{digest}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    folder.parent.mkdir(exist_ok=True)
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not ready.exists():
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
            into = ("pip", "install", "--quiet", "--python", str(python))
            _uv(*into, "--requirement", str(requirements))
            for project in beside:
                _uv(*into, "--no-deps", "--editable", str(project))
            ready.touch()
    return python


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", *arguments], check=True)
