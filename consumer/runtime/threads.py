"""The threads in which a worker waits for ClickHouse and encodes rows."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Threads(NamedTuple):
    """Pools of their own: an insert that waits for its server must not keep the next batch from
    being prepared, nor the encoding of many partition workers the look-ups of the first.
    """

    prepare: ThreadPoolExecutor
    ask: ThreadPoolExecutor
    insert: ThreadPoolExecutor


async def in_thread(
    threads: ThreadPoolExecutor,
    function: Callable[Arguments, Result],
    *arguments: Arguments.args,
    **_: Arguments.kwargs,
) -> Result:
    """What `function` returns, called in one of `threads`."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, partial(function, *arguments))
