"""Makes the events of other models' calls inside an answer: an advisor, a tool that is a model.

Each is an event of its own, because an event has one model. They share the request's facts; time
and failure belong to the request alone.
"""

from decimal import Decimal

from usagepipe.producer.reading.usage import COUNTS, Usage
from usagepipe.producer.watching.events import units_of
from usagepipe.schemas.event import MAX_ID_CHARS, UsageEvent, clip
from usagepipe.schemas.ids import uuid7


def parts_of(event: UsageEvent, usage: Usage) -> list[UsageEvent]:
    """The events of the calls inside the answer of `event`, with `part` 1, 2, …"""
    return [_part(event, number, part) for number, part in enumerate(usage.parts, start=1)]


def _part(event: UsageEvent, number: int, usage: Usage) -> UsageEvent:
    # What a provider reports, or a handler stamps, is the cost of the whole request.
    included = event.cost is not None
    return event.model_copy(
        update={
            "event_id": uuid7(),
            "part": number,
            "model": clip(usage.model, MAX_ID_CHARS),
            **{name: getattr(usage, name) for name in COUNTS},
            "units": units_of(usage),
            "usage_quality": usage.usage_quality,
            "pre_filter_prompt_tokens": None,
            "post_filter_prompt_tokens": None,
            "failed": False,
            "duration_ms": 0,
            "ttft_ms": None,
            "cost": Decimal(0) if included else None,
            "reported_cost": None,
        }
    )
