"""Who sends each request of a trace, to which model, and how it will end: all of it by a seed.

The plan knows every answer in advance. That is what makes the final check a check: its sums are
added up from here, and never from what the pipeline says.
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
FAILED_SHARE = 0.02
FAILED_STATUS = (429, 429, 429, 500)  # drawn from
OK = 200
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
    prompt_tokens: int  # of a failed request: 0, as all its tokens
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


def plan(rows: Sequence[TraceRow], seed: int) -> Iterator[PlannedRequest]:
    """A request for each row of the trace; equal arguments give equal requests."""
    random = Random(f"plan {seed}")
    population = Population(seed)
    sessions, keys, models = _Zipf(population.sessions), _Zipf(population.keys), _Zipf(MODELS)
    for row in rows:
        (source,) = random.choices(SOURCES, SOURCE_WEIGHTS)
        if source == "legacy":
            credential = population.legacy
        else:
            credential = (keys if source == "apikey" else sessions).draw(random)
        yield _request(row, credential, models.draw(random), random)


def _request(row: TraceRow, credential: Credential, model: Model, random: Random) -> PlannedRequest:
    failed = random.random() < FAILED_SHARE
    prompt = 0 if failed else row.prompt_tokens
    cached = random.randint(0, prompt) if random.random() < CACHED_SHARE else 0
    return PlannedRequest(
        at_seconds=row.at_seconds,
        credential=credential,
        requested_model=AUTO if random.random() < AUTO_SHARE else model.name,
        model=model,
        status=random.choice(FAILED_STATUS) if failed else OK,
        prompt_tokens=prompt,
        completion_tokens=0 if failed else row.completion_tokens,
        cached_tokens=cached,
    )
