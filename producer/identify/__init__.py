"""Who calls, for the common ways to come in: give one of these as `identify`, or a chain of them.

Each takes an ASGI scope or a WSGI environ and answers a `Caller` or None. They tell callers apart;
they keep nobody out: that is your authentication's, which has let the request through by then.
"""

from usagepipe.producer.identify.chains import first_of
from usagepipe.producer.identify.keys import api_key, legacy_keys
from usagepipe.producer.identify.local_user import local_user
from usagepipe.producer.identify.proxies import proxy_headers
from usagepipe.producer.identify.sessions import session

__all__ = ["api_key", "first_of", "legacy_keys", "local_user", "proxy_headers", "session"]
