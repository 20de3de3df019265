"""Environments of the peers; each `.txt` file holds the exact versions of one."""

from pathlib import Path
from typing import Final

from tests.support import environments

FOLDER: Final = Path(__file__).parent
PEERS: Final = {"arroyo": "sentry-arroyo", "quixstreams": "quixstreams"}


def python_of(peer: str) -> Path:
    """The interpreter that has the peer; installs it the first time (network)."""
    return environments.python_of(FOLDER / f"{peer}.txt")


def version_of(peer: str) -> str:
    """The version of the peer that its environment has."""
    lines = (FOLDER / f"{peer}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{PEERS[peer]}=="))
