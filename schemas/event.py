"""The usage event, version 1: one request to a model, who made it and what it used.

The model is the contract of the topic. What it accepts is stored, what it refuses becomes a dead
letter; every faster decoder is derived from it. Empty text means "none", because ids are sorting
keys and a null sorts nowhere; a null cost means "unknown" and is never the same as 0.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from usagepipe.schemas.ids import uuid7

SCHEMA_VERSION: Final = 1

MAX_TOKENS = 10**12  # of one request: a million times the largest context window of today
MAX_MILLISECONDS = 10**10  # 115 days: longer than any request lives
MAX_COST = 10**9  # US dollars of one request
COST_DECIMALS = 12  # a thousandth of a nano-dollar: prices are per token, to 9 decimals
MAX_ID_CHARS = 256
MAX_NAME_CHARS = 512
MAX_TAGS = 64
MAX_TAG_KEY_CHARS = 128
MAX_TAG_VALUE_CHARS = 2048
MAX_PART = 255
MAX_UNITS = 32
MAX_UNIT_CHARS = 64

# A fixed window, not one around "now": an event accepted today must be accepted in a replay.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)  # ClickHouse's DateTime of the buckets ends in 2106

UsageQuality = Literal["complete", "partial", "missing", "inconsistent"]

CostSource = Literal["", "reported", "stamped", "priced"]


def to_utc_milliseconds(moment: datetime) -> datetime:
    """`moment` in UTC, cut (not rounded) to whole milliseconds.

    Raises:
        ValueError: it lies outside `EARLIEST` … `LATEST`.
    """
    if not EARLIEST <= moment < LATEST:
        raise ValueError(f"must lie in {EARLIEST.year}-01-01 to {LATEST.year}-01-01 UTC")
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def to_canonical_decimal(number: Decimal) -> Decimal:
    """`number` in the one form that its amount has: 100 for 1E+2, 0.5 for 0.500, 0 for -0."""
    return Decimal(f"{number.normalize():f}") if number else Decimal(0)


def clip(text: str, chars: int) -> str:
    """The first `chars` of `text`, with what UTF-8 cannot carry (lone surrogates) replaced."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text[:chars]


Id = Annotated[str, Field(max_length=MAX_ID_CHARS)]
RequiredId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
Milliseconds = Annotated[int, Field(ge=0, le=MAX_MILLISECONDS)]
Cost = Annotated[
    Decimal,
    # Not strict: exact text is as good as a Decimal.
    Field(strict=False, ge=0, lt=MAX_COST, decimal_places=COST_DECIMALS),
    AfterValidator(to_canonical_decimal),
]
EventTime = Annotated[AwareDatetime, AfterValidator(to_utc_milliseconds)]
TagKey = Annotated[str, Field(min_length=1, max_length=MAX_TAG_KEY_CHARS)]
TagValue = Annotated[str, Field(max_length=MAX_TAG_VALUE_CHARS)]
Tags = Annotated[dict[TagKey, TagValue], Field(max_length=MAX_TAGS)]
UnitName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$", max_length=MAX_UNIT_CHARS)]
Units = Annotated[dict[UnitName, Tokens], Field(max_length=MAX_UNITS)]


class UsageEvent(BaseModel):
    """One request and its usage, in the normal form: no token is ever in two classes.

    `prompt_tokens` is every input token, `cached_tokens` (cache reads) and `cache_write_tokens`
    being parts of it; `completion_tokens` is every output token, `reasoning_tokens` being a part
    of it; `total_tokens` is the provider's total where it gives one, else the sum of the two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    event_id: UUID = Field(
        strict=False, description="Identity of the event: the same id is the same event."
    )
    schema_version: Literal[1] = Field(
        default=SCHEMA_VERSION, description="Version of this contract."
    )
    producer_id: Id = Field(default="", description="The process that recorded the event.")
    sequence: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = Field(
        default=None,
        description="Number of the event in its producer, counting from 1: a gap is a loss before "
        "Kafka. Null from producers that do not count.",
    )
    occurred_at: EventTime = Field(description="Start of the request, UTC, milliseconds.")

    request_id: Id = Field(default="", description="The request's id, kept over its retries.")
    attempt: int = Field(default=1, ge=1, le=65_535, description="1 is the first try.")
    part: int = Field(
        default=0,
        ge=0,
        le=MAX_PART,
        description="0 is the request. 1, 2, … are calls of other models inside its answer: their "
        "tokens and cost count, but they are no requests.",
    )

    user_id: RequiredId = Field(description="Who made the request.")
    user_name: Name = Field(default="", description="The user's name at that moment: a snapshot.")
    api_key_id: Id = Field(default="", description="The key's id, never the key. Empty: no key.")
    api_key_name: Name = Field(default="", description="The key's name at that moment: a snapshot.")
    source: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default="web", description="How the caller came in: web, apikey, legacy, or another word."
    )
    virtual_key_id: Id = Field(default="", description="A gateway's virtual key.")
    team_id: Id = Field(default="", description="The team that the usage counts for.")
    customer_id: Id = Field(default="", description="The customer that the usage counts for.")

    provider: Id = Field(default="", description="Who served the model, such as openai.")
    requested_model: Id = Field(
        default="", description="The model that was asked for, such as auto."
    )
    model: Id = Field(
        default="",
        description="The model that answered; where none is known, the one that was asked for.",
    )
    endpoint: Name = Field(default="", description="The path of the request, without its query.")
    service_tier: Id = Field(
        default="",
        description="The tier that the answer reports, such as default, flex or priority.",
    )
    batch: bool = Field(default=False, description="The request was a part of a batch job.")

    prompt_tokens: Tokens = Field(default=0, description="Every input token, cache included.")
    completion_tokens: Tokens = Field(
        default=0, description="Every output token, reasoning included."
    )
    total_tokens: Tokens = Field(default=0, description="The provider's total, else the sum.")
    cached_tokens: Tokens = Field(default=0, description="Input read from a cache: part of prompt.")
    cache_write_tokens: Tokens = Field(
        default=0, description="Input written to a cache: part of prompt."
    )
    reasoning_tokens: Tokens = Field(default=0, description="Output not shown: part of completion.")
    pre_filter_prompt_tokens: Tokens | None = Field(
        default=None, description="Input before the gateway's filters. Null: not known."
    )
    post_filter_prompt_tokens: Tokens | None = Field(
        default=None, description="Input after the gateway's filters. Null: not known."
    )
    units: Units = Field(
        default={},
        description="Other counts that providers bill by, named as in genai-prices: "
        "cache_write_1h_tokens, input_audio_tokens, web_searches. Tokens in it are parts of prompt "
        "or completion.",
    )
    usage_quality: UsageQuality = Field(
        default="complete", description="How far the token counts can be trusted."
    )

    status_code: int = Field(default=0, ge=0, le=999, description="HTTP status, or 0.")
    failed: bool = Field(default=False, description="The request failed.")
    streaming: bool = Field(default=False, description="The answer was a stream.")
    duration_ms: Milliseconds = Field(default=0, description="From start to the end of the answer.")
    ttft_ms: Milliseconds | None = Field(
        default=None, description="Time to first token. Null: not known."
    )

    cost: Cost | None = Field(
        default=None, description="US dollars, exact. Null: unknown, never 0."
    )
    cost_source: CostSource = Field(
        default="",
        description="Where `cost` comes from: reported by the provider, stamped by a handler, or "
        "priced by a price book. A cost without a source counts as stamped.",
    )
    reported_cost: Cost | None = Field(
        default=None,
        description="What the provider reported or a handler stamped, whichever cost counts.",
    )
    price_version: Id = Field(
        default="", description="The price book or list that the cost was computed from."
    )
    tags: Tags = Field(default={}, description="Anything else, as text.")

    @classmethod
    def new(cls, **fields: object) -> "UsageEvent":
        """An event of this moment: mints `event_id` and `occurred_at` unless they are given.

        If the answering model is unknown, the requested model takes its place: usage by model
        is grouped by this field, and so a failed request counts for the model that was asked.

        Raises:
            pydantic.ValidationError: a field breaks its rule; the message names each.
        """
        fields.setdefault("event_id", uuid7())
        fields.setdefault("occurred_at", datetime.now(UTC))
        event = cls.model_validate(fields)
        if event.model or not event.requested_model:
            return event
        return event.model_copy(update={"model": event.requested_model})
