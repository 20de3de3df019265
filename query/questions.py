"""Asks each kind of question: binds time and filters, reads the rows, builds the answer."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypedDict, get_type_hints

from usagepipe.query.answers import (
    CustomerUsage,
    Grouping,
    GroupUsage,
    KeyUsage,
    ModelUsage,
    Point,
    ProviderUsage,
    RollUp,
    Row,
    Series,
    SourceUsage,
    TeamUsage,
    Totals,
    Used,
    UserSourceUsage,
    UserUsage,
)
from usagepipe.query.periods import TimeRange, Width, zone_of
from usagepipe.query.slices import slice_range
from usagepipe.query.statements import Dimension, Sort, grouped_statement, statement
from usagepipe.query.store import Store
from usagepipe.schemas.errors import WrongUseError

MAX_ROWS = 1_000_000  # of one answer: it is held in memory


class Filters(TypedDict, total=False):
    """Values that rows must have. None means any; empty text means rows without a value.

    `excluded_source` leaves one source out, such as `legacy`.
    """

    customer_id: str | None
    team_id: str | None
    user_id: str | None
    source: str | None
    excluded_source: str | None
    api_key_id: str | None
    provider: str | None
    model: str | None


class RollUpOptions(Filters, total=False):
    """Filters, and which rows of a roll-up are left: the first `limit` in the order of `sort`."""

    sort: Sort
    limit: int


FILTER_NAMES = tuple(get_type_hints(Filters))


def filter_parameters(filters: Filters) -> dict[str, str | None]:
    """All the parameters that `sql/filters.sql` names.

    Raises:
        WrongUseError: an unknown filter. Ignoring it would widen the answer silently.
    """
    unknown = sorted(set(filters) - set(FILTER_NAMES))
    if unknown:
        raise WrongUseError(f"no filter {unknown[0]!r}: it is one of {', '.join(FILTER_NAMES)}.")
    given: dict[str, str | None] = dict(filters)  # type: ignore[arg-type]  # a TypedDict of these
    return {name: given.get(name) for name in FILTER_NAMES}


@dataclass(frozen=True, slots=True)
class RollUpQuestion(Generic[Row]):
    """A roll-up: the file of `sql/` that asks for it and the model of its rows."""

    row: type[Row]
    sql: str = "by_dimension"
    dimension: Dimension | None = None


BY_SOURCE = RollUpQuestion(SourceUsage, dimension="source")
BY_MODEL = RollUpQuestion(ModelUsage, dimension="model")
BY_PROVIDER = RollUpQuestion(ProviderUsage, dimension="provider")
BY_TEAM = RollUpQuestion(TeamUsage, dimension="team_id")
BY_CUSTOMER = RollUpQuestion(CustomerUsage, dimension="customer_id")
BY_USER = RollUpQuestion(UserUsage, dimension="user_id")
BY_KEY = RollUpQuestion(KeyUsage, sql="by_key")
BY_USER_SOURCE = RollUpQuestion(UserSourceUsage, sql="by_user_source")


def ask_totals(store: Store, span: TimeRange, filters: Filters) -> Totals:
    (row,) = store.rows(statement("totals"), usage_parameters(span, filters))
    return Totals(start=span.start, end=span.end, **row)


def ask_roll_up(
    store: Store,
    question: RollUpQuestion[Row],
    span: TimeRange,
    limit: int,
    sort: Sort,
    filters: Filters,
) -> RollUp[Row]:
    sql = statement(question.sql, dimension=question.dimension, order=sort)
    rows, truncated = _read(store, sql, usage_parameters(span, filters), limit)
    _add_names(store, question.row, rows)
    return RollUp(
        start=span.start,
        end=span.end,
        rows=tuple(question.row(**row) for row in rows),
        truncated=truncated,
    )


@dataclass(frozen=True, slots=True)
class GroupQuestion:
    """Usage by several dimensions, and over time if there is a width."""

    dimensions: tuple[Dimension, ...]
    width: Width | None
    time_zone: str
    sort: Sort
    without_key: bool = False  # only requests that came without one


def ask_grouping(
    store: Store, question: GroupQuestion, span: TimeRange, limit: int, filters: Filters
) -> Grouping:
    sql = grouped_statement(
        question.dimensions, question.width, question.sort, without_key=question.without_key
    )
    parameters = _bound_with_zone(question, span, filters)
    rows, truncated = _read(store, sql, parameters, limit, question.time_zone)
    _add_names(store, GroupUsage, rows)
    return Grouping(
        start=span.start,
        end=span.end,
        width=question.width,
        time_zone=question.time_zone,
        rows=tuple(GroupUsage(**row) for row in rows),
        truncated=truncated,
    )


@dataclass(frozen=True, slots=True)
class SeriesQuestion(Generic[Point]):
    """Usage over time, in buckets of a width that start as a time zone's do."""

    point: type[Point]
    width: Width
    time_zone: str
    dimension: Dimension | None = None


def ask_series(
    store: Store, question: SeriesQuestion[Point], span: TimeRange, limit: int, filters: Filters
) -> Series[Point]:
    name = "buckets" if question.dimension is None else "buckets_by"
    sql = statement(name, width=question.width, dimension=question.dimension)
    parameters = _bound_with_zone(question, span, filters)
    rows, truncated = _read(store, sql, parameters, limit, question.time_zone)
    return Series(
        start=span.start,
        end=span.end,
        width=question.width,
        time_zone=question.time_zone,
        rows=tuple(question.point(**row) for row in rows),
        truncated=truncated,
    )


def usage_parameters(
    span: TimeRange, filters: Filters, *, use_days: bool = True
) -> dict[str, object]:
    return {**asdict(slice_range(span, use_days=use_days)), **filter_parameters(filters)}


def _bound_with_zone(
    question: GroupQuestion | SeriesQuestion[Any], span: TimeRange, filters: Filters
) -> dict[str, object]:
    """For buckets of time: only those of whole UTC days can be read from the day rollup."""
    fits_days = question.width in ("day", "month") and question.time_zone == "UTC"
    bound = usage_parameters(span, filters, use_days=question.width is None or fits_days)
    return bound | {"time_zone": question.time_zone}


def _read(
    store: Store, sql: str, parameters: dict[str, object], limit: int, time_zone: str = "UTC"
) -> tuple[list[dict[str, Any]], bool]:
    """The first `limit` rows, with buckets that start in `time_zone`; whether there are more."""
    if not 1 <= limit <= MAX_ROWS:
        raise WrongUseError(f"the limit is {limit}: it must lie in 1 to {MAX_ROWS}.")
    zone = zone_of(time_zone)
    rows = store.rows(sql, parameters | {"limit": limit + 1})
    for row in rows:
        if "start" in row:
            row["start"] = datetime.fromtimestamp(row["start"], zone)
        if "last_used" in row:
            row["last_used"] = datetime.fromtimestamp(row["last_used"] / 1000, UTC)
    return rows[:limit], len(rows) > limit


def _add_names(store: Store, model: type[Used], rows: Sequence[dict[str, Any]]) -> None:
    for kind, field, name in (
        ("user", "user_id", "user_name"),
        ("api_key", "api_key_id", "api_key_name"),
    ):
        if name in model.model_fields and all(field in row for row in rows):
            names = store.names(kind, (row[field] for row in rows))
            for row in rows:
                row[name] = names.get(row[field], "")
