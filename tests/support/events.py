"""Usage events for tests."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from usagepipe.schemas import UsageEvent

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(**fields: Any) -> UsageEvent:
    """An event of now, of the user u-1 unless `fields` name another."""
    return UsageEvent.new(**{"user_id": "u-1"} | fields)


def numbered_event(number: int, **fields: Any) -> UsageEvent:
    """The event `number` of a producer, a minute after the one before it, of users with and
    without a key.
    """
    given: dict[str, Any] = {
        "occurred_at": NOON + timedelta(minutes=number),
        "user_id": f"u-{number % 3}",
        "api_key_id": f"k-{number % 5}" if number % 2 else "",
        "producer_id": "p",
        "sequence": number + 1,
        "total_tokens": number,
        "cost": Decimal(number) / 10**12,
    }
    return UsageEvent.new(**given | fields)
