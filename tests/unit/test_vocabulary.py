"""Code and docs use none of the names that the vocabulary in docs/architecture.md replaced."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.installs import ROOT

FOLDERS: Final = ("schemas", "producer", "consumer", "query", "local", "cli", "benchmarks", "docs")
PAGES: Final = ("README.md", "CONTRIBUTING.md", "docker-compose.yml", "Makefile")

# One word or phrase each, as a pattern over whole words. A name that has another meaning as well is
# here as the class or module that it was: `Start` and `Found` are fine names elsewhere.
OLD_NAMES: Final = (
    "[Tt]enures?",
    "[Ll]anes?",
    "Storing|storing\\.py|Cutter|buffer\\.py",
    "class (Store|Buffer|Run|Start|Found|Kept|Handle|Letter|Twice)",
    "Pack|Packed|Loose|LeftOut|left_out\\.py",
    "Landing|_Tried|_Part",
    "Quiet|quiet\\.py",
    "Persistence|persistence",
    "Kind\\.PERSON|PERSON",
    "Proof|USAGEPIPE_PROOF|start-up proof|proof_\\w+",
    "sought_ids",
    "[Pp]uts? back on the topic|put back",
    "[Cc]ouriers?|[Tt]ellers?",
    "Conclusions|[Pp]assages?|Course|Opening",
    "farewells|glance|unsaid|kafka_contact",
    "heals?|healed|mended?|mends",
    "reconcile\\w*|[Rr]econciler",
    "anew",
)
# Classes that never were the worker's.
ALLOWED: Final = {
    ("query/store.py", "class Store"),
    ("producer/delivery/spill", "class"),
    ("CONTRIBUTING.md", "anew"),  # where it is named as a word to avoid
}


def _texts() -> Iterator[tuple[str, str]]:
    paths = [ROOT / page for page in PAGES]
    for folder in FOLDERS:
        paths += [path for path in (ROOT / folder).rglob("*") if _is_ours(path)]
    for path in paths:
        yield str(path.relative_to(ROOT)), path.read_text()


def _is_ours(path: Path) -> bool:
    return path.suffix in {".py", ".md", ".sql", ".yml", ".json"} and "__pycache__" not in str(path)


@pytest.mark.parametrize("old", OLD_NAMES)
def test_old_names_are_gone(old: str) -> None:
    """Code, docs, settings and log events use the words of the vocabulary alone."""
    pattern = re.compile(rf"(?<![\w.])(?:{old})(?!\w)")
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in _texts()
        for match in pattern.finditer(text)
        if not any(name.startswith(file) and match[0].startswith(it) for file, it in ALLOWED)
    ]

    assert [] == found
