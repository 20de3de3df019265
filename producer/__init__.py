"""What runs in the web process: the recorder, the middleware and the stamp of a handler."""

from usagepipe.producer.callers import Caller, fingerprint_key
from usagepipe.producer.middleware import UsageMiddleware
from usagepipe.producer.recorder import UsageRecorder
from usagepipe.producer.stamps import stamp_usage
from usagepipe.producer.wsgi import UsageWsgiMiddleware

__all__ = [
    "Caller",
    "UsageMiddleware",
    "UsageRecorder",
    "UsageWsgiMiddleware",
    "fingerprint_key",
    "stamp_usage",
]
