"""Environments of the peers, since their versions of shared libraries differ from ours.

Each `.txt` file holds the exact versions of one environment. They are made when first needed.
"""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
PEERS: Final = {"arroyo": "sentry-arroyo", "quixstreams": "quixstreams"}


def python_of(peer: str) -> Path:
    """The interpreter that has the peer; installs it the first time (network)."""
    wanted = FOLDER / f"{peer}.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()[:8]
    folder = Path(sys.prefix) / "peers" / f"{peer}-{digest}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        _uv("pip", "install", "--quiet", "--python", str(python), "--requirement", str(wanted))
        ready.touch()
    return python


def version_of(peer: str) -> str:
    """The version of the peer that its environment has."""
    lines = (FOLDER / f"{peer}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{PEERS[peer]}=="))


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", *arguments], check=True)
