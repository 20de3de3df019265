"""The ground floor: the event, its bytes, the topics, the tables, the settings and the errors."""

from usagepipe.schemas.codec import decode, encode
from usagepipe.schemas.errors import EventRejectedError, UsagePipeError
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import Settings

__all__ = ["EventRejectedError", "Settings", "UsageEvent", "UsagePipeError", "decode", "encode"]
