"""When a worker leaves the group because ClickHouse does not let it in, and when it comes back."""

import asyncio
from functools import partial

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.worker.admission import Admission

WRONG_PASSWORD = DatabaseError("Code: 516. DB::Exception: no (AUTHENTICATION_FAILED)", code=516)
FULL_DISK = DatabaseError("Code: 243. DB::Exception: no (NOT_ENOUGH_SPACE)", code=243)


class World:
    """A worker's admission; `answers` are those of the inserts that try it out, None for taken."""

    def __init__(self, most_seconds: float = 0.0) -> None:
        self.health = Health(assigned=True)
        self.answers: list[Exception | None] = []
        self.left = 0
        self.admission = Admission(self.health, most_seconds, self._try_out)
        self.begin(None)

    def begin(self, *answers: Exception | None) -> None:
        """Start, with these answers to the inserts that try it out."""
        self.answers += answers
        asyncio.run(self.admission.begin(partial(asyncio.sleep, 0)))

    def _try_out(self) -> None:
        if (answer := self.answers.pop(0)) is not None:
            raise answer

    def _leave(self) -> None:
        self.left += 1

    def look(self, *answers: Exception | None) -> tuple[bool, int]:
        """Whether the worker may be in the group after these, and how often it has left."""
        self.answers += answers
        for _ in answers or (None,):
            asyncio.run(self.admission.look(self._leave))
        return self.admission.open, self.left


def test_a_lockout_that_lasts_closes_once_and_success_opens() -> None:
    """The health names the cause for as long as the worker stands aside."""
    world = World()
    world.health.failed("clickhouse", WRONG_PASSWORD, "a batch")

    closed = world.look(WRONG_PASSWORD, WRONG_PASSWORD, FULL_DISK)
    world.health.succeeded("clickhouse", "a batch")  # its partition worker has ended
    state = world.health.state
    opened = world.look(None)

    assert ((False, 1), "degraded") == (closed, state)
    assert ((True, 1), "running") == (opened, world.health.state)


@pytest.mark.parametrize("answer", [WRONG_PASSWORD, FULL_DISK, TimeoutError()])
def test_a_worker_that_starts_is_admitted_when_an_insert_is_taken(answer: Exception) -> None:
    """Until then it waits, for any cause, and health names the cause."""
    seen: list[tuple[bool, str, bool]] = []
    health = Health(assigned=True)
    answers = [answer, answer, None]

    def try_out() -> None:
        seen.append((admission.open, health.state, health.waiting_for is None))
        if (next_answer := answers.pop(0)) is not None:
            raise next_answer

    admission = Admission(health, 0.0, try_out)
    asyncio.run(admission.begin(partial(asyncio.sleep, 0)))

    waiting = [(False, "starting", False), (False, "degraded", False), (False, "degraded", False)]
    assert waiting == seen
    assert (True, "running", None) == (admission.open, health.state, health.waiting_for)


def test_a_worker_whose_preflight_is_not_done_stays_outside() -> None:
    """The regular looks do not open it before."""
    health = Health(assigned=True)
    admission = Admission(health, 0.0, lambda: None)

    async def look() -> bool:
        beginning = asyncio.create_task(admission.begin(asyncio.Event().wait))
        await asyncio.sleep(0)
        await admission.look(lambda: None)
        beginning.cancel()
        return admission.open

    assert not asyncio.run(look())
    assert "starting" == health.state


def test_a_short_lockout_is_waited_out() -> None:
    """Nothing is even tried before the time is over."""
    world = World(most_seconds=60)
    world.health.failed("clickhouse", WRONG_PASSWORD, "a batch")

    assert (True, 0) == world.look()


@pytest.mark.parametrize("answer", [None, FULL_DISK, TimeoutError()])
def test_a_worker_whose_inserts_are_let_in_stays(answer: Exception | None) -> None:
    """A server in trouble fails for every worker: another one could do no better."""
    world = World()
    world.health.failed("clickhouse", WRONG_PASSWORD, "a batch")

    assert (True, 0) == world.look(answer)


def test_a_server_in_trouble_is_no_lockout() -> None:
    """However long it lasts."""
    world = World(most_seconds=0.001)
    world.health.failed("clickhouse", FULL_DISK, "a batch")

    assert (True, 0) == world.look()
