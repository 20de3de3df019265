"""Requests before one moment, for questions about the usage of a period."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support import events
from usagepipe.schemas import UsageEvent

NOW = datetime(2026, 5, 21, 14, 30, 12, 345_000, tzinfo=UTC)


def event(user: str = "u-1", ago: timedelta = timedelta(), **fields: Any) -> UsageEvent:
    """One request of `user`, `ago` before now; total tokens are those of the prompt and more."""
    prompt, completion = fields.get("prompt_tokens", 0), fields.get("completion_tokens", 0)
    defaults = {"user_id": user, "occurred_at": NOW - ago, "total_tokens": prompt + completion}
    return events.event(**defaults | fields)


def keyed(user: str, key: str, tokens: int, **fields: Any) -> UsageEvent:
    return event(user, api_key_id=key, source="apikey", total_tokens=tokens, **fields)
