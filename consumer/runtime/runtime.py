"""What the parts of a worker share: threads, retries, metrics, health."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar, TypeVarTuple

from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import Retrier

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class Threads(NamedTuple):
    """Three pools: an insert that waits for its server must not delay the next batch's
    preparation, and encoding for many partitions must not delay the look-ups.
    """

    prepare: ThreadPoolExecutor
    ask: ThreadPoolExecutor
    insert: ThreadPoolExecutor


@dataclass(frozen=True, slots=True)
class Runtime:
    """Passed to every part of a worker."""

    threads: Threads
    retry: Retrier
    metrics: WorkerMetrics
    health: Health

    async def ask(
        self, place: str, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Result:
        """Call `function` in a thread until ClickHouse answers. `place` names it in the log."""
        answer, _ = await self.retry(
            "clickhouse", place, partial(in_thread, self.threads.ask, function, *arguments)
        )
        return answer


async def in_thread(
    threads: ThreadPoolExecutor, function: Callable[[*Arguments], Result], *arguments: *Arguments
) -> Result:
    """What `function` returns, called in one of `threads`."""
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
