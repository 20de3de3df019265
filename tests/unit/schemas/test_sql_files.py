"""SQL files, and how words and fragments are put into them."""

from pathlib import Path

import pytest

from tests.support.installs import ROOT
from usagepipe.schemas.clickhouse.sql_files import fill

FILES = sorted(
    path
    for folder in ("consumer", "query", "local")
    for path in ROOT.glob(f"{folder}/**/sql/*.sql")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_the_first_line_of_a_file_is_its_purpose(path: Path) -> None:
    """A comment that is one or more sentences."""
    comment, _, statement = path.read_text().partition("\n")

    assert comment.startswith("-- ")
    assert statement.strip()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_file_is_used(path: Path) -> None:
    """The package of a file names it, in a module or in another statement."""
    sources = [*path.parents[1].glob("*.py"), *path.parent.glob("*.sql")]
    names = (f'"{path.stem}"', f"${{{path.stem}}}")

    assert any(name in source.read_text() for source in sources for name in names)


def test_a_word_is_indented_like_its_placeholder() -> None:
    """A fragment of several lines, with a word of its own, reads as if it was written in place."""
    words = {"columns": "one,\n${last}", "last": "two"}

    assert "SELECT\n    one,\n    two\nFROM x" == fill("SELECT\n    ${columns}\nFROM x", words)


def test_a_missing_word_is_an_error() -> None:
    """No statement is sent with a placeholder in it."""
    with pytest.raises(KeyError):
        fill("SELECT ${missing}", {})
