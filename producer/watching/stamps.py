"""What a handler tells about its request: a stamp wins over whatever the answer's body says.

The stamp travels in a context variable as one mutable object, so it is the same object in the
handler's task, in the threads that frameworks run sync handlers in, and in a streaming generator:
each of them has a copy of the context, and all copies hold that object.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

from usagepipe.producer.watching.requests import Request
from usagepipe.schemas.event import UsageQuality

SCOPE_KEY = "usagepipe.stamp"


class Stamp(dict[str, Any]):
    """Names of the event's fields, and what the handler said of them, until the request is over.

    What a request started and left running (a task, a thread) has its stamp still.
    """

    over = False
    told = False  # of a request that is over: whether it told tokens itself
    # Of the calls to providers that were made for the request and told tokens: how to record each.
    calls: tuple[Callable[[], object], ...] = ()

    def record_calls(self) -> bool:
        """Record the calls, the request telling no tokens itself; whether there are any."""
        calls, self.calls = self.calls, ()
        for record in calls:
            record()
        return bool(calls)


current_stamp: ContextVar[Stamp | None] = ContextVar("usagepipe_stamp", default=None)


@contextmanager
def stamping(stamp: Stamp) -> Iterator[None]:
    """What runs inside stamps `stamp`."""
    token = current_stamp.set(stamp)
    try:
        yield
    finally:
        current_stamp.reset(token)


def stamp_of(request: Request) -> Stamp | None:
    """The stamp of the request that is being handled, if something watches it: this very one, or
    one that it is a part of (an application that is called inside of another)."""
    stamp: Stamp | None = request.get(SCOPE_KEY)
    if stamp is None or stamp.over:
        stamp = current_stamp.get()
    return None if stamp is None or stamp.over else stamp


def stamp_usage(
    model: str | None = None,
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
    *,
    total_tokens: int | None = None,
    cached_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    pre_filter_prompt_tokens: int | None = None,
    post_filter_prompt_tokens: int | None = None,
    usage_quality: UsageQuality | None = None,
    requested_model: str | None = None,
    provider: str | None = None,
    request_id: str | None = None,
    attempt: int | None = None,
    failed: bool | None = None,
    streaming: bool | None = None,
    cost: Decimal | None = None,
    price_version: str | None = None,
    tags: Mapping[str, str] | None = None,
    scope: Request | None = None,
) -> bool:
    """Tell the usage of the request that is being handled; call it any time before it ends.

    Tokens of the stamp are used when `prompt_tokens` or `completion_tokens` is given, zeros
    included; else those of the answer's body. All other fields are used as given. Called more
    than once, the later value of a field stands; tags are added up. The total is the sum unless
    it is given. Never blocks and never raises; values are checked when the event is made.

    `scope` is the request's ASGI scope or WSGI environ: only a thread that was started by hand
    needs it.

    Returns:
        Whether there is a request to stamp: False outside of a middleware, where that skips the
        path, and when the request is over.
    """
    given = {k: v for k, v in locals().items() if v is not None and k not in {"scope", "tags"}}
    stamp: Stamp | None = current_stamp.get() if scope is None else scope.get(SCOPE_KEY)
    if stamp is None or stamp.over:
        return False
    stamp.update(given)
    if tags is not None:
        stamp["tags"] = {**stamp.get("tags", {}), **tags}
    return True
