"""Plans each request of a trace from a seed: its caller, its model and its result.

The plan knows every answer in advance. The final check compares the pipeline with these sums, and
never with its own numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

from usagepipe.local.demo.catalogue import AUTO, MODELS, Model
from usagepipe.local.demo.population import Credential, Population
from usagepipe.local.demo.trace import TraceRow

SOURCES = ("web", "apikey", "legacy")
SOURCE_WEIGHTS = (40, 55, 5)
AUTO_SHARE = 0.1  # of the requests ask for "auto"
CACHED_SHARE = 0.3  # of the requests find part of their prompt in a cache
REFUSED_SHARE = 0.015  # of the requests of a made-up trace
BROKEN_SHARE = 0.005
OK = 200
REFUSED = 429  # before anything was used
BROKEN = 500  # after the model had answered: its tokens are used all the same
ZIPF_EXPONENT = 1.1  # the busiest of 240 users makes a fifth of the requests

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request to the gateway, and the answer that its model will give."""

    at_seconds: float
    credential: Credential
    requested_model: str
    model: Model
    status: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int

    @property
    def failed(self) -> bool:
        return self.status != OK


class _Zipf(Generic[Thing]):
    """Draws from `things`, ordered by popularity, by Zipf's law."""

    def __init__(self, things: Sequence[Thing]) -> None:
        self._things = things
        ranks = range(1, len(things) + 1)
        self._weights = list(accumulate(rank**-ZIPF_EXPONENT for rank in ranks))

    def draw(self, random: Random) -> Thing:
        return random.choices(self._things, cum_weights=self._weights)[0]


def plan(rows: Sequence[TraceRow], seed: int, *, refusals: bool) -> Iterator[PlannedRequest]:
    """A request for each row of the trace; equal arguments give equal requests.

    `refusals` lets some requests be refused, which takes their tokens away: not for a real trace,
    whose tokens shall all arrive.
    """
    random = Random(f"plan {seed}")
    population = Population(seed)
    sessions, keys, models = _Zipf(population.sessions), _Zipf(population.keys), _Zipf(MODELS)
    for row in rows:
        (source,) = random.choices(SOURCES, SOURCE_WEIGHTS)
        if source == "legacy":
            credential = population.legacy
        else:
            credential = (keys if source == "apikey" else sessions).draw(random)
        yield _request(row, credential, models.draw(random), _status(random, refusals), random)


def _status(random: Random, refusals: bool) -> int:
    chance = random.random()
    if chance < BROKEN_SHARE:
        return BROKEN
    return REFUSED if refusals and chance < BROKEN_SHARE + REFUSED_SHARE else OK


def _request(
    row: TraceRow, credential: Credential, model: Model, status: int, random: Random
) -> PlannedRequest:
    prompt = 0 if status == REFUSED else row.prompt_tokens
    completion = 0 if status == REFUSED else row.completion_tokens
    cached = random.randint(0, prompt) if random.random() < CACHED_SHARE else 0
    return PlannedRequest(
        at_seconds=row.at_seconds,
        credential=credential,
        requested_model=AUTO if random.random() < AUTO_SHARE else model.name,
        model=model,
        status=status,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
    )
