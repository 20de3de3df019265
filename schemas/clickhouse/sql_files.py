"""Reads SQL statements from the `sql` folder of a package: one statement a file.

The first line of a file is a comment with its purpose. Values are always query parameters; only
fixed words and whole fragments are put into the text.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_PLACEHOLDER = re.compile(r"^(?P<indent> *)[^\n]*?\$\{(?P<name>\w+)\}", re.MULTILINE)


@cache
def read_sql(package: str, name: str) -> str:
    """The text of `sql/<name>.sql` in `package`."""
    return (files(package) / "sql" / f"{name}.sql").read_text(encoding="utf-8").strip()


def read_fragment(package: str, name: str) -> str:
    """The text without its first line, to be put into other statements."""
    return read_sql(package, name).partition("\n")[2]


def fill(text: str, words: Mapping[str, str]) -> str:
    """`text` with each `${word}` replaced; later lines of a word are indented like its first.

    Raises:
        KeyError: `words` lacks a word of the text.
    """

    def line(found: re.Match[str]) -> str:
        later = "\n" + found["indent"]
        return found[0].replace(f"${{{found['name']}}}", words[found["name"]].replace("\n", later))

    while _PLACEHOLDER.search(text):
        text = _PLACEHOLDER.sub(line, text)
    return text
