"""The part that runs in web processes: the recorder, the middlewares and `stamp_usage`."""

from usagepipe.producer.delivery.recorder import UsageRecorder
from usagepipe.producer.watching.callers import Caller, fingerprint_key
from usagepipe.producer.watching.middleware import UsageMiddleware
from usagepipe.producer.watching.stamps import stamp_usage
from usagepipe.producer.watching.wsgi import UsageWsgiMiddleware

__all__ = [
    "Caller",
    "UsageMiddleware",
    "UsageRecorder",
    "UsageWsgiMiddleware",
    "fingerprint_key",
    "stamp_usage",
]
