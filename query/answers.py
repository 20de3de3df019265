"""The answers of the queries: frozen models, times in UTC, exact costs.

A cost is the sum of the known costs, and null if none is known. `unpriced_requests` counts the
requests without a known cost. In JSON a cost is text, because a number would be read as a float.
"""

from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_serializer,
)

from usagepipe.query.periods import Width


class Usage(BaseModel):
    """What requests used, in the normal form of tokens (see `UsageEvent`)."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    requests: int = Field(description="Requests, the failed ones included.")
    failures: int = Field(description="Requests that failed.")
    prompt_tokens: int = Field(description="Every input token, cache included.")
    completion_tokens: int = Field(description="Every output token, reasoning included.")
    total_tokens: int = Field(description="The providers' totals, else the sums.")
    cached_tokens: int = Field(description="Input read from a cache: part of prompt.")
    cache_write_tokens: int = Field(description="Input written to a cache: part of prompt.")
    reasoning_tokens: int = Field(description="Output not shown: part of completion.")
    cost: Decimal | None = Field(
        description="US dollars, exact: the sum of the costs that are known; null: none is known."
    )
    unpriced_requests: int = Field(
        description="Requests whose cost is not known. A failed one without tokens is none: "
        "there is nothing to price."
    )
    missing_requests: int = Field(default=0, description="Requests whose answer reported no usage.")
    partial_requests: int = Field(
        default=0, description="Requests whose answer was cut off: the least used."
    )
    inconsistent_requests: int = Field(
        default=0, description="Requests whose reported numbers disagree."
    )

    @field_serializer("cost")
    def _plain(self, cost: Decimal | None) -> str | None:
        return None if cost is None else format(cost, "f")  # str() may say 1E-9

    @property
    def incomplete_requests(self) -> int:
        """Requests whose tokens are not known for certain."""
        return self.missing_requests + self.partial_requests + self.inconsistent_requests


class Ranged(BaseModel):
    """An answer about the half-open range `[from, to)`, in UTC."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    start: datetime = Field(serialization_alias="from", description="First moment of the range.")
    end: datetime = Field(serialization_alias="to", description="First moment after the range.")


class Totals(Usage, Ranged):
    """All usage of a range."""


class Bucket(Usage):
    """The usage of one bucket of time; the first and last of a range may be cut by its ends."""

    start: datetime = Field(description="Start of the bucket, in the time zone asked for.")


class BucketOf(Bucket):
    """The usage of one bucket of time by one value of a dimension."""

    value: str = Field(description="The dimension's value; empty is none.")


class Used(Usage):
    """The usage of one row of a roll-up."""

    last_used: datetime = Field(description="Start of the last request, UTC.")


class SourceUsage(Used):
    source: str


class ModelUsage(Used):
    model: str


class ProviderUsage(Used):
    provider: str


class TeamUsage(Used):
    team_id: str


class CustomerUsage(Used):
    customer_id: str


class UserUsage(Used):
    user_id: str
    user_name: str = Field(description="The latest name that any event had; empty is none.")


class KeyUsage(Used):
    api_key_id: str
    api_key_name: str = Field(description="The latest name that any event had; empty is none.")
    user_id: str = Field(description="Who used the key last.")
    user_name: str = Field(description="Their latest name.")
    users: int = Field(description="How many users used the key.")


class UserSourceUsage(Used):
    user_id: str
    user_name: str = Field(description="The latest name that any event had; empty is none.")
    source: str


class GroupUsage(Used):
    """The usage of one combination of what was grouped by. A field that was not grouped by is
    None, and absent when it is serialized."""

    start: datetime | None = Field(default=None, description="Start of the bucket of time.")
    source: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    api_key_id: str | None = None
    api_key_name: str | None = None
    provider: str | None = None
    model: str | None = None
    team_id: str | None = None
    customer_id: str | None = None

    @model_serializer(mode="wrap")
    def _grouped(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = handler(self)
        own = GroupUsage.__annotations__
        return {
            name: value for name, value in fields.items() if not (value is None and name in own)
        }


Row = TypeVar("Row", bound=Used)
Point = TypeVar("Point", bound=Bucket)


class RollUp(Ranged, Generic[Row]):
    """Rows in the order that was asked for. `truncated`: the limit left out further rows."""

    rows: tuple[SerializeAsAny[Row], ...]
    truncated: bool


class Grouping(RollUp[GroupUsage]):
    """Rows by several dimensions. `width` and `time_zone` are those of the buckets of time."""

    width: Width | None
    time_zone: str


class Series(Ranged, Generic[Point]):
    """Buckets in the order of time; those without requests are absent."""

    width: Width
    time_zone: str
    rows: tuple[SerializeAsAny[Point], ...]
    truncated: bool
