"""The SQL of the queries: files of `sql/`, put together from whole fragments and listed words.

No value is ever put into the text: values travel as parameters. What stands in the text is a
fragment file or one of the words below.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Literal, cast, get_args

from usagepipe.query.periods import WIDTHS, Width
from usagepipe.schemas.errors import WrongUseError

Dimension = Literal[
    "source", "user_id", "api_key_id", "model", "provider", "team_id", "customer_id"
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
_START_OF: dict[Width, str] = {
    "15m": "toStartOfFifteenMinutes",
    "hour": "toStartOfHour",
    "day": "toStartOfDay",
    "month": "toStartOfMonth",
}
_PLACEHOLDER = re.compile(r"^(?P<indent> *)[^\n]*?\$\{(?P<name>\w+)\}", re.MULTILINE)


@cache
def statement(name: str, *, dimension: str | None = None, width: str | None = None) -> str:
    """The SQL of `sql/<name>.sql` with its fragments and words in it.

    Raises:
        WrongUseError: there is no such dimension or width.
    """
    words = {"measures": _fragment("measures"), "filters": _fragment("filters")}
    words["slices"] = _fill(_fragment("slices"), words)
    if dimension is not None:
        _check_listed("dimension", dimension, DIMENSIONS)
        words["dimension"] = dimension
    if width is not None:
        _check_listed("width", width, WIDTHS)
        words["start_of"] = _START_OF[cast(Width, width)]
    return _fill(_read(name), words)


def _check_listed(kind: str, word: str, listed: tuple[str, ...]) -> None:
    if word not in listed:
        raise WrongUseError(f"no {kind} {word!r}: it is one of {', '.join(listed)}.")


def _read(name: str) -> str:
    return (files("usagepipe.query") / "sql" / f"{name}.sql").read_text(encoding="utf-8").strip()


def _fragment(name: str) -> str:
    """A file without its first line, which tells its purpose."""
    return _read(name).partition("\n")[2]


def _fill(text: str, words: dict[str, str]) -> str:
    """`text` with its placeholders filled in, each word's later lines indented as its first."""

    def line(found: re.Match[str]) -> str:
        later = "\n" + found["indent"]
        return found[0].replace(f"${{{found['name']}}}", words[found["name"]].replace("\n", later))

    while _PLACEHOLDER.search(text):
        text = _PLACEHOLDER.sub(line, text)
    return text
