"""`UsageQueries`: one method per question about usage.

Errors are raised, so an answer of zeros means that nothing was used.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, Self, Unpack

from usagepipe.query import questions
from usagepipe.query.answers import (
    Bucket,
    BucketOf,
    CustomerUsage,
    Grouping,
    KeyUsage,
    ModelUsage,
    ProviderUsage,
    RollUp,
    Row,
    Series,
    SourceUsage,
    TeamUsage,
    Totals,
    UserSourceUsage,
    UserUsage,
)
from usagepipe.query.periods import PeriodName, TimeRange, Width, default_width, range_of
from usagepipe.query.questions import (
    Filters,
    GroupQuestion,
    RollUpOptions,
    RollUpQuestion,
    SeriesQuestion,
)
from usagepipe.query.statements import Dimension, Sort
from usagepipe.query.store import Store
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.settings import ClickHouseSettings, QuerySettings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DEFAULT_ROWS = 200
DEFAULT_BUCKETS = 10_000

Period = PeriodName | TimeRange
Group = Literal[
    "source", "key", "user", "user_source", "model", "provider", "team", "customer", "time"
]
TIME: Final = "time"
GROUPS: Final[Mapping[Group, tuple[Dimension, ...]]] = {
    "source": ("source",),
    "key": ("api_key_id",),
    "user": ("user_id",),
    "user_source": ("user_id", "source"),
    "model": ("model",),
    "provider": ("provider",),
    "team": ("team_id",),
    "customer": ("customer_id",),
    TIME: (),
}


def _utc_now() -> datetime:
    return datetime.now(UTC)


class UsageQueries:
    """Questions about usage. Each method blocks; several threads may ask at once.

    `period` is "day", "week", "month" or "all", trailing from now, or a `TimeRange`; every answer
    has the range it is about. `limit` applies after `sort`: the rows that are left are the first
    ones in that order. `sort` is "tokens" by default, the largest first, and `limit` is 200 rows,
    10,000 for buckets. The other keywords narrow the question (see `Filters`). Each method raises:

        WrongUseError: the period, a filter or another argument is invalid.
        ServerUnavailableError: ClickHouse does not answer.
        MigrationError: the tables are missing.
    """

    def __init__(self, client: "Client", *, clock: Callable[[], datetime] = _utc_now) -> None:
        """Ask through a client of clickhouse-connect whose database holds the tables."""
        self._store = Store(client)
        self._clock = clock

    @classmethod
    def connect(
        cls, server: ClickHouseSettings | str | None = None, *, wait_seconds: float = 0
    ) -> Self:
        """Queries on the server at a URL (`http://user:password@host:8123/database`), or on the
        server of the given settings; None: of the environment's settings.

        Raises:
            SettingsError: the URL or the environment is wrong.
            AccessError: the server refuses the user or the password.
            ServerUnavailableError: no server answered within `wait_seconds`.
        """
        settings = (
            server
            if isinstance(server, ClickHouseSettings)
            else QuerySettings.load(clickhouse=server)
        )
        return cls(connect(settings.clickhouse_address, wait_seconds=wait_seconds))

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def totals(self, period: Period = "month", **filters: Unpack[Filters]) -> Totals:
        """All usage of a period."""
        return questions.ask_totals(self._store, self._span(period), filters)

    def buckets(
        self,
        period: Period = "month",
        *,
        width: Width | None = None,
        time_zone: str = "UTC",
        limit: int = DEFAULT_BUCKETS,
        **filters: Unpack[Filters],
    ) -> Series[Bucket]:
        """Usage over time, in buckets that start as the hours, days or months of a time zone do."""
        span = self._span(period)
        question = SeriesQuestion(Bucket, width or default_width(period), time_zone)
        return questions.ask_series(self._store, question, span, limit, filters)

    def buckets_by(
        self,
        dimension: Dimension,
        period: Period = "month",
        *,
        width: Width | None = None,
        time_zone: str = "UTC",
        limit: int = DEFAULT_BUCKETS,
        **filters: Unpack[Filters],
    ) -> Series[BucketOf]:
        """Usage over time, with a row of a bucket for each value of a dimension."""
        span = self._span(period)
        question = SeriesQuestion(BucketOf, width or default_width(period), time_zone, dimension)
        return questions.ask_series(self._store, question, span, limit, filters)

    def by_source(
        self, period: Period = "month", **options: Unpack[RollUpOptions]
    ) -> RollUp[SourceUsage]:
        """Usage by the way callers came in."""
        return self._roll_up(questions.BY_SOURCE, period, options)

    def by_key(
        self, period: Period = "month", **options: Unpack[RollUpOptions]
    ) -> RollUp[KeyUsage]:
        """Usage by API key, with the latest names. Requests without a key are left out."""
        return self._roll_up(questions.BY_KEY, period, options)

    def by_user(
        self, period: Period = "month", **options: Unpack[RollUpOptions]
    ) -> RollUp[UserUsage]:
        """Usage by user, with the latest names."""
        return self._roll_up(questions.BY_USER, period, options)

    def by_user_source(
        self, period: Period = "month", **options: Unpack[RollUpOptions]
    ) -> RollUp[UserSourceUsage]:
        """Usage without an API key by user and source: what `by_key` leaves out."""
        return self._roll_up(questions.BY_USER_SOURCE, period, options)

    def by_model(
        self, period: Period = "month", **options: Unpack[RollUpOptions]
    ) -> RollUp[ModelUsage]:
        """Usage by the model that answered."""
        return self._roll_up(questions.BY_MODEL, period, options)

    def by_provider(
        self, period: Period = "month", **options: Unpack[RollUpOptions]
    ) -> RollUp[ProviderUsage]:
        """Usage by who served the model."""
        return self._roll_up(questions.BY_PROVIDER, period, options)

    def by_team(
        self, period: Period = "month", **options: Unpack[RollUpOptions]
    ) -> RollUp[TeamUsage]:
        """Usage by the team that it counts for."""
        return self._roll_up(questions.BY_TEAM, period, options)

    def by_customer(
        self, period: Period = "month", **options: Unpack[RollUpOptions]
    ) -> RollUp[CustomerUsage]:
        """Usage by the customer that it counts for."""
        return self._roll_up(questions.BY_CUSTOMER, period, options)

    def grouped(
        self,
        by: Sequence[Group],
        period: Period = "month",
        *,
        width: Width | None = None,
        time_zone: str = "UTC",
        limit: int = DEFAULT_ROWS,
        sort: Sort | None = None,
        **filters: Unpack[Filters],
    ) -> Grouping:
        """Usage by several dimensions at once; with "time" among them, over time.

        The order is by time where there is time, else by tokens, unless `sort` is given.
        """
        over_time = TIME in by
        dimensions = dict.fromkeys(name for word in by for name in GROUPS[word])
        question = GroupQuestion(
            tuple(dimensions),
            (width or default_width(period)) if over_time else None,
            time_zone,
            sort or ("time" if over_time else "tokens"),
            without_key="user_source" in by,
        )
        return questions.ask_grouping(self._store, question, self._span(period), limit, filters)

    def _roll_up(
        self, question: RollUpQuestion[Row], period: Period, options: RollUpOptions
    ) -> RollUp[Row]:
        limit, sort = options.pop("limit", DEFAULT_ROWS), options.pop("sort", "tokens")
        return questions.ask_roll_up(
            self._store, question, self._span(period), limit, sort, options
        )

    def _span(self, period: Period) -> TimeRange:
        return range_of(period, self._clock())
