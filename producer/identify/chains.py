"""Asks several ways to know a caller in turn; any of them may be async."""

import inspect
from collections.abc import Awaitable, Callable, Iterator

from usagepipe.producer.watching.callers import Caller, Found, Identify
from usagepipe.producer.watching.requests import Request


def first_of(*ways: Identify) -> Identify:
    """The first caller that one of `ways` knows, asked in this order.

    A way that raises ends the search: a caller must never count as somebody else because a
    look-up was down.
    """
    return lambda request: first_in(request, iter(ways))


def first_in(request: Request, ways: Iterator[Identify]) -> Found:
    """The same for `ways` that are made only when they are asked."""
    for way in ways:
        found = way(request)
        if inspect.isawaitable(found):
            return _first_later(found, request, ways)
        if found is not None and found.user_id:
            return found
    return None


async def _first_later(
    pending: Awaitable[Caller | None], request: Request, ways: Iterator[Identify]
) -> Caller | None:
    found = await pending
    if found is not None and found.user_id:
        return found
    following = first_in(request, ways)
    return await following if inspect.isawaitable(following) else following


def then(found: Found, finish: Callable[[Caller | None], Caller | None]) -> Found:
    """`finish` of what was found, now or when it is there."""
    return _then_later(found, finish) if inspect.isawaitable(found) else finish(found)


async def _then_later(
    pending: Awaitable[Caller | None], finish: Callable[[Caller | None], Caller | None]
) -> Caller | None:
    return finish(await pending)
