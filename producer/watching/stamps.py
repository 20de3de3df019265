"""Usage that a handler reports for its own request. A stamp overrides the answer's body.

The stamp is one mutable object in a context variable. The handler's task, the threads of sync
handlers and streaming generators each have a copy of the context, and all copies hold the same
object.
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
    """Fields of the event and the values that the handler gave, until the request is over.

    Tasks and threads that a request left running still hold its stamp.
    """

    over = False
    has_usage = False  # of a request that is over: whether it had tokens itself
    # Record the calls to providers that were made for the request and have tokens.
    calls: tuple[Callable[[], object], ...] = ()

    def record_calls(self) -> bool:
        """Record the calls, because the request itself has no tokens. Whether there are any."""
        calls, self.calls = self.calls, ()
        for record in calls:
            record()
        return bool(calls)


current_stamp: ContextVar[Stamp | None] = ContextVar("usagepipe_stamp", default=None)


@contextmanager
def stamping(stamp: Stamp) -> Iterator[None]:
    """Code that runs inside stamps `stamp`."""
    token = current_stamp.set(stamp)
    try:
        yield
    finally:
        current_stamp.reset(token)


def stamp_of(request: Request) -> Stamp | None:
    """The stamp of the request that is being handled, if it is watched. It may belong to an outer
    request (one application calls another)."""
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
    units: Mapping[str, int] | None = None,
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
    service_tier: str | None = None,
    batch: bool | None = None,
    tags: Mapping[str, str] | None = None,
    scope: Request | None = None,
) -> bool:
    """Report the usage of the request that is being handled. Call it any time before it ends.

    The tokens of the stamp are used if `prompt_tokens` or `completion_tokens` is given, even as
    zero; otherwise those of the answer's body. All other fields are used as given. A later call
    replaces earlier values; tags are merged. The total defaults to the sum. Never blocks and never
    raises: values are checked when the event is made.

    `units` are the other counts that the provider bills by, named as in genai-prices:
    `{"input_audio_seconds": 12}`. Tokens in it are parts of the prompt or the completion.

    `scope` is the request's ASGI scope or WSGI environ. Only a thread that you started yourself
    needs it.

    Returns:
        Whether there is a request to stamp. False outside a middleware, if the middleware skips the
        path, and when the request is over.
    """
    given = {k: v for k, v in locals().items() if v is not None and k not in {"scope", "tags"}}
    stamp: Stamp | None = current_stamp.get() if scope is None else scope.get(SCOPE_KEY)
    if stamp is None or stamp.over:
        return False
    stamp.update(given)
    if isinstance(units, Mapping):
        stamp["units"] = dict(units)  # the handler may go on counting
    if tags is not None:
        stamp["tags"] = {**stamp.get("tags", {}), **tags}
    return True
