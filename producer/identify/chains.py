"""Tries several `identify` functions in turn. Each of them may be async."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain

from usagepipe.producer.watching.callers import Caller, Found, Identify


def first_of(*ways: Identify) -> Identify:
    """The first caller that one of `ways` finds, tried in this order.

    An exception ends the search: if a look-up fails, the caller must not be taken for somebody
    else.
    """
    return lambda request: first_found(way(request) for way in ways)


def first_found(results: Iterator[Found]) -> Found:
    """The first caller among `results`. The iterator does no look-up after it."""
    for found in results:
        if inspect.isawaitable(found):
            return _first_later(found, results)
        if found is not None and found.user_id:
            return found
    return None


async def _first_later(
    pending: Awaitable[Caller | None], results: Iterator[Found]
) -> Caller | None:
    for found in chain((pending,), results):
        caller = await found if inspect.isawaitable(found) else found
        if caller is not None and caller.user_id:
            return caller
    return None


def then(found: Found, finish: Callable[[Caller | None], Caller | None]) -> Found:
    """Apply `finish` to what was found, now or once it is awaited."""
    return _then_later(found, finish) if inspect.isawaitable(found) else finish(found)


async def _then_later(
    pending: Awaitable[Caller | None], finish: Callable[[Caller | None], Caller | None]
) -> Caller | None:
    return finish(await pending)
