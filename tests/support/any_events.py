"""Strategies of hypothesis for all events that the model accepts."""

from datetime import datetime

from hypothesis import strategies as st

from usagepipe.schemas import UsageEvent
from usagepipe.schemas.event import MAX_TOKENS

tokens = st.integers(0, MAX_TOKENS)
text = st.text(max_size=40)
EARLIEST, LATEST = datetime(2000, 1, 2), datetime(2099, 12, 30)  # noqa: DTZ001  # as asked for
moments = st.datetimes(EARLIEST, LATEST, timezones=st.timezones())
events = st.builds(
    UsageEvent.new,
    event_id=st.uuids(),
    occurred_at=moments,
    user_id=st.text(min_size=1, max_size=40),
    producer_id=text,
    sequence=st.none() | st.integers(1, 2**63 - 1),
    user_name=text,
    source=st.text(min_size=1, max_size=64),
    model=text,
    prompt_tokens=tokens,
    total_tokens=tokens,
    pre_filter_prompt_tokens=st.none() | tokens,
    usage_quality=st.sampled_from(["complete", "partial", "missing", "inconsistent"]),
    failed=st.booleans(),
    attempt=st.integers(1, 65_535),
    cost=st.none() | st.decimals(0, 999_999_999, allow_nan=False, places=12),
    cost_source=st.sampled_from(["", "reported", "stamped", "priced"]),
    reported_cost=st.none() | st.decimals(0, 999_999_999, allow_nan=False, places=12),
    part=st.integers(0, 255),
    service_tier=text,
    batch=st.booleans(),
    units=st.dictionaries(st.from_regex("[a-z][a-z0-9_]{0,9}", fullmatch=True), tokens, max_size=5),
    tags=st.dictionaries(st.text(min_size=1, max_size=20), text, max_size=5),
)
