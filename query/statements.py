"""The SQL of the queries, built from the files of `sql/` and the listed words below.

Values are always bound parameters, never part of the text.
"""

from functools import cache, partial
from typing import Literal, cast, get_args

from usagepipe.query.periods import WIDTHS, Width
from usagepipe.schemas.clickhouse.sql_files import fill, read_fragment, read_sql
from usagepipe.schemas.errors import WrongUseError

Dimension = Literal[
    "source", "user_id", "api_key_id", "model", "provider", "team_id", "customer_id"
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
Sort = Literal["tokens", "requests", "failures", "cost", "last-used", "id", "time"]
SORTS: tuple[Sort, ...] = get_args(Sort)
START = "start"  # the column of the buckets
_ORDER: dict[Sort, tuple[str, ...]] = {
    "tokens": ("total_tokens DESC", "requests DESC"),
    "requests": ("requests DESC", "total_tokens DESC"),
    "failures": ("failures DESC", "requests DESC"),
    "cost": ("cost DESC NULLS LAST", "total_tokens DESC", "requests DESC"),
    "last-used": ("last_used DESC",),
    "id": (),
    "time": (START, "total_tokens DESC", "requests DESC"),
}
_START_OF: dict[Width, str] = {
    "15m": "toStartOfFifteenMinutes",
    "hour": "toStartOfHour",
    "day": "toStartOfDay",
    "month": "toStartOfMonth",
}
_read = partial(read_sql, "usagepipe.query")
_fragment = partial(read_fragment, "usagepipe.query")


@cache
def statement(
    name: str,
    *,
    dimension: str | None = None,
    width: str | None = None,
    order: str = "tokens",
) -> str:
    """The SQL of `sql/<name>.sql` with its fragments and words in it.

    Raises:
        WrongUseError: there is no such dimension, width or order.
    """
    words = _fragments()
    if dimension is not None:
        _check_listed("dimension", dimension, DIMENSIONS)
        words["dimension"] = dimension
    if width is not None:
        words["start"] = _start(width)
    if name in _KEYS:
        words["order"] = _order(order, _KEYS[name] or (str(dimension),))
    return fill(_read(name), words)


@cache
def grouped_statement(
    dimensions: tuple[str, ...], width: str | None, order: str, *, without_key: bool
) -> str:
    """The SQL of `sql/grouped.sql`: by dimensions, and over time if there is a width.

    As in the roll-ups, requests without a key are no part of a grouping by key.

    Raises:
        WrongUseError: there is no such dimension, width or order.
    """
    words = _fragments()
    for dimension in dimensions:
        _check_listed("dimension", dimension, DIMENSIONS)
    groups = [f"usage.{dimension} AS {dimension}" for dimension in dimensions]
    names = dimensions
    if width is not None:
        groups.insert(0, _start(width))
        names = (START, *dimensions)
    conditions = ["usage.api_key_id = ''"] if without_key else []
    if "api_key_id" in dimensions:
        conditions.append("usage.api_key_id != ''")
    words["groups"] = ",\n".join(groups)
    words["condition"] = " AND ".join(conditions) or "1"
    words["names"] = ",\n".join(names)
    words["order"] = _order(order, names)
    return fill(_read("grouped"), words)


# What a row of a roll-up is about: rows that are equal otherwise are in this order.
_KEYS: dict[str, tuple[str, ...]] = {
    "by_dimension": (),
    "by_key": ("api_key_id",),
    "by_user_source": ("user_id", "source"),
}


def _fragments() -> dict[str, str]:
    words = {name: _fragment(name) for name in ("measures", "filters", "event_fields")}
    words["slices"] = fill(_fragment("slices"), words)
    return words


def _start(width: str) -> str:
    _check_listed("width", width, WIDTHS)
    return fill(_fragment("start"), {"start_of": _START_OF[cast(Width, width)]})


def _order(order: str, names: tuple[str, ...]) -> str:
    """The words of ORDER BY: the measure, and then what makes the order of rows certain."""
    _check_listed("order", order, SORTS)
    if order == "time" and START not in names:
        raise WrongUseError("the order 'time' needs buckets of time.")
    first = _ORDER[cast(Sort, order)]
    return ",\n".join((*first, *(name for name in names if name not in first)))


def _check_listed(kind: str, word: str, listed: tuple[str, ...]) -> None:
    if word not in listed:
        raise WrongUseError(f"no {kind} {word!r}: it is one of {', '.join(listed)}.")
