"""Ready-made `identify` functions for the common ways to authenticate, and a chain of them.

Each takes an ASGI scope or a WSGI environ and returns a `Caller` or None. They only identify
callers. They reject nobody: that is the task of your authentication, which runs before.
"""

from usagepipe.producer.identify.chains import first_of
from usagepipe.producer.identify.keys import api_key, legacy_keys, session
from usagepipe.producer.identify.local_user import local_user
from usagepipe.producer.identify.proxies import proxy_headers

__all__ = ["api_key", "first_of", "legacy_keys", "local_user", "proxy_headers", "session"]
