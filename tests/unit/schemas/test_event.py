"""The event's limits: wrong values are refused by the name of the field."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from usagepipe.schemas.event import UsageEvent, UsageQuality

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
IDS = ["producer_id", "request_id", "user_id", "api_key_id", "virtual_key_id", "team_id"]
IDS += ["customer_id", "provider", "requested_model", "model", "price_version"]
NAMES = ["user_name", "api_key_name", "endpoint"]
TOKENS = ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"]
TOKENS += ["cache_write_tokens", "reasoning_tokens"]
TOKENS += ["pre_filter_prompt_tokens", "post_filter_prompt_tokens"]

LIMITS: list[tuple[str, Any, Any]] = [  # field, the last value within, the first beyond
    *((name, "x" * 256, "x" * 257) for name in IDS),
    *((name, "x" * 512, "x" * 513) for name in NAMES),
    *((name, 10**12, 10**12 + 1) for name in TOKENS),
    *((name, 0, -1) for name in TOKENS),
    ("user_id", "x", ""),
    ("source", "x" * 64, "x" * 65),
    ("source", "x", ""),
    ("sequence", 1, 0),
    ("sequence", 2**63 - 1, 2**63),
    ("attempt", 1, 0),
    ("attempt", 65_535, 65_536),
    ("schema_version", 1, 2),
    ("status_code", 0, -1),
    ("status_code", 999, 1_000),
    ("duration_ms", 0, -1),
    ("duration_ms", 10**10, 10**10 + 1),
    ("ttft_ms", 0, -1),
    ("ttft_ms", 10**10, 10**10 + 1),
    ("cost", Decimal(0), Decimal("-0.01")),
    ("cost", Decimal("999999999.999999999999"), Decimal(10**9)),
    ("cost", Decimal("1E-12"), Decimal("1E-13")),
    ("occurred_at", datetime(2000, 1, 1, tzinfo=UTC), datetime(1999, 12, 31, 23, 59, tzinfo=UTC)),
    ("occurred_at", datetime(2099, 12, 31, 23, 59, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)),
    ("tags", {f"k{n}": "" for n in range(64)}, {f"k{n}": "" for n in range(65)}),
    ("tags", {"k" * 128: ""}, {"k" * 129: ""}),
    ("tags", {"k": ""}, {"": ""}),
    ("tags", {"k": "v" * 2_048}, {"k": "v" * 2_049}),
]


@pytest.mark.parametrize(("field", "within", "beyond"), LIMITS)
def test_limit_holds_and_names_its_field(field: str, within: object, beyond: object) -> None:
    """The last value within a limit is accepted; the first one beyond is refused by name."""
    kept = UsageEvent.new(**{"user_id": "u-1", "occurred_at": NOW, field: within})

    assert within == getattr(kept, field)
    assert [field] == refused(**{field: beyond})


@pytest.mark.parametrize("field", UsageEvent.model_fields)
def test_value_of_another_kind_is_refused(field: str) -> None:
    """No field accepts a value of another type."""
    assert [field] == refused(**{field: object()})


@pytest.mark.parametrize("value", [1.0, 1.5, "1", True, None, float("nan"), Decimal(1)])
def test_count_is_a_whole_number_and_nothing_like_it(value: object) -> None:
    """Tokens are never converted from fractions, text or booleans."""
    assert ["prompt_tokens"] == refused(prompt_tokens=value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "", "free", True])
def test_cost_is_a_finite_number(value: object) -> None:
    """A value that is not an amount of money is refused."""
    assert ["cost"] == refused(cost=value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("1E+5", "100000"), ("-0", "0"), ("0E+8", "0"), ("0.500", "0.5"), ("1E-12", "1E-12")],
)
def test_cost_is_kept_in_one_form(given: str, kept: str) -> None:
    """The same amount always becomes the same text."""
    event = UsageEvent.new(user_id="u-1", cost=Decimal(given))

    assert kept == str(event.cost)


def test_time_without_a_zone_is_refused() -> None:
    """A time without a zone is ambiguous."""
    assert ["occurred_at"] == refused(occurred_at=NOW.replace(tzinfo=None))


def test_time_is_cut_to_milliseconds_in_utc() -> None:
    """The time is converted to UTC; the rest of a millisecond is cut, never rounded up."""
    moment = (NOW + timedelta(microseconds=999_999)).astimezone()

    event = UsageEvent.new(user_id="u-1", occurred_at=moment)

    assert NOW + timedelta(milliseconds=999) == event.occurred_at
    assert UTC == event.occurred_at.tzinfo


def test_half_a_surrogate_pair_is_refused() -> None:
    """Text that UTF-8 cannot carry never becomes an event that cannot be encoded."""
    assert ["user_name"] == refused(user_name="\ud800")


def test_unknown_field_is_refused_in_python() -> None:
    """A misspelt field is an error and is not ignored."""
    assert ["promt_tokens"] == refused(promt_tokens=1)


def test_every_wrong_field_is_named_at_once() -> None:
    """One error names every wrong field."""
    assert ["cost", "prompt_tokens", "user_id"] == refused(user_id="", prompt_tokens=-1, cost="x")


def test_event_cannot_be_changed() -> None:
    """A recorded event never changes."""
    event = UsageEvent.new(user_id="u-1")

    with pytest.raises(ValidationError, match="frozen"):
        event.user_id = "u-2"


def test_default_tags_are_not_shared() -> None:
    """Two events never hold the same dictionary."""
    assert UsageEvent.new(user_id="u-1").tags is not UsageEvent.new(user_id="u-1").tags


def test_new_events_have_their_own_id_and_time() -> None:
    """`new` creates the id and the time that are not given."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)

    one, other = UsageEvent.new(user_id="u-1"), UsageEvent.new(user_id="u-1")

    assert one.event_id != other.event_id
    assert before <= one.occurred_at <= datetime.now(UTC)


def test_qualities_are_the_four_of_the_contract() -> None:
    """The store and the dashboards know exactly these."""
    assert {"complete", "partial", "missing", "inconsistent"} == set(get_args(UsageQuality))


def test_every_field_says_what_it_means() -> None:
    """The JSON Schema is the contract's documentation: no field without a description."""
    assert [] == [n for n, field in UsageEvent.model_fields.items() if not field.description]


def refused(**fields: object) -> list[str]:
    """The fields that the model refuses, sorted."""
    with pytest.raises(ValidationError) as caught:
        UsageEvent.new(**{"user_id": "u-1", **fields})
    return sorted({str(problem["loc"][0]) for problem in caught.value.errors()})
