"""What `UsageMiddleware` and a real recorder add to a request, to a chunk, to the first byte.

The same gateway bare, under a middleware that does nothing and under ours, in turns. Bare requests
run while the recorder has nothing to do and ours while it encodes and sends: what its thread takes
from a request (the interpreter's lock) is in what is added, and in the p99 most of all.
"""

import asyncio
import statistics
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from benchmarks.extraction import STREAMS, chat_stream, large_stream
from benchmarks.gateways import Call, DoNothing, ask, chat, request, streamed_chat, swallow
from benchmarks.world import World
from usagepipe.producer import Caller, UsageMiddleware, UsageRecorder
from usagepipe.producer.watching.asgi import App, Scope
from usagepipe.schemas import Settings

AGAIN: Final = 2  # rounds for each of the plan: turns are short
WARM: Final = 1  # round before, not counted
ANSWERS: Final = 2_000  # of JSON in a turn
PACED: Final = 500  # the same, with a pause before each
PAUSE_SECONDS: Final = 0.001
CHUNKS: Final = 20_000  # in a turn, of streams
FLUSH_SECONDS: Final = 30

Figures = Mapping[str, float]
Turns = Mapping[str, Sequence[Figures]]  # by what the gateway is under: bare, nothing, ours


@dataclass(frozen=True, slots=True)
class Traffic:
    """The requests of a turn, all alike."""

    name: str
    gateway: App
    calls: int
    pause_seconds: float = 0.0  # before each


def measure_requests(world: World, rounds: int) -> Figures:
    """What is added to each kind of traffic (see `added`), and MiB to a stream of 100 MB."""
    folder = str(world.folder / "requests")
    settings = Settings.load(kafka=world.kafka.bootstrap, topic=world.topic(), spill_dir=folder)
    with UsageRecorder(settings) as recorder:
        found = asyncio.run(_measure(recorder, rounds * AGAIN))
        unrecorded = recorder.snapshot().unrecorded
    assert not unrecorded, unrecorded
    return found


async def _measure(recorder: UsageRecorder, rounds: int) -> Figures:
    found: dict[str, float] = {}
    for traffic in _traffics():
        figures = added(await _take_turns(traffic, recorder, rounds))
        found |= {f"{traffic.name}_{name}": value for name, value in figures.items()}
    bare = await _mebibytes(streamed_chat(large_stream()))
    ours = await _mebibytes(_watched(streamed_chat(large_stream()), recorder))
    return found | {"stream_mebibytes": ours - bare}


def _traffics() -> list[Traffic]:
    streams = [
        Traffic(f"sse_{chunks}", streamed_chat(chat_stream(chunks)), CHUNKS // chunks)
        for chunks in STREAMS
    ]
    paced = Traffic("paced_json", chat(), PACED, PAUSE_SECONDS)
    return [Traffic("json", chat(), ANSWERS), paced, *streams]


async def _take_turns(traffic: Traffic, recorder: UsageRecorder, rounds: int) -> Turns:
    """The figures of each turn, round after round."""
    bare = traffic.gateway
    apps: dict[str, App] = {
        "bare": bare,
        "nothing": DoNothing(bare),
        "ours": _watched(bare, recorder),
    }
    turns: dict[str, list[Figures]] = {name: [] for name in apps}
    for _ in range(WARM + rounds):
        for name, app in apps.items():
            turns[name].append(await _turn(app, traffic, recorder))
    return {name: taken[WARM:] for name, taken in turns.items()}


def _watched(app: App, recorder: UsageRecorder) -> App:
    return UsageMiddleware(app, recorder=recorder, identify=caller_of)


def caller_of(scope: Scope) -> Caller:
    """Who calls, as an authentication would have found it: the look-up is not ours."""
    return Caller("user-1", "User 1", api_key_id="key-1", api_key_name="Key 1", team_id="team-1")


async def _turn(app: App, traffic: Traffic, recorder: UsageRecorder) -> Figures:
    everything, own = time.process_time(), time.thread_time()
    calls = []
    for _ in range(traffic.calls):
        if traffic.pause_seconds:
            await asyncio.sleep(traffic.pause_seconds)
        call = Call()
        await call.make(app)
        calls.append(call)
    # Whatever comes next finds the recorder idle, and what it did counts here.
    assert recorder.flush(FLUSH_SECONDS) == 0
    beside = time.process_time() - everything - (time.thread_time() - own)
    return figures_of(calls) | {"beside_us": beside / traffic.calls * 1e6}


def figures_of(calls: Sequence[Call]) -> dict[str, float]:
    """Microseconds that a request took (median, p99 and p99.9), that its client waited for the
    first of the body (median), and from one piece of the body to the next (median)."""
    took = sorted(call.ended - call.began for call in calls)
    figures: dict[str, float] = {
        "us": statistics.median(took),
        "p99_us": took[int(len(took) * 0.99)],
        "p999_us": took[int(len(took) * 0.999)],
        "first_byte_us": statistics.median(call.pieces[0] - call.began for call in calls),
    }
    waits = [later - piece for call in calls for piece, later in pairwise(call.pieces)]
    if waits:
        figures["chunk_us"] = statistics.median(waits)
    return {name: nanoseconds / 1e3 for name, nanoseconds in figures.items()}


def added(turns: Turns) -> dict[str, float]:
    """What ours is above the bare one of the same round, in the median of the rounds, figure by
    figure. With the bare request's median, and what the middleware that does nothing adds.

    So the p99 is a difference of two p99. The bare one is the machine's alone, for then there is
    no recorder at work; a slow request of ours counts in full.
    """

    def above(name: str, figure: str) -> float:
        rounds = zip(turns[name], turns["bare"], strict=True)
        return statistics.median(turn[figure] - bare[figure] for turn, bare in rounds)

    figures = turns["bare"][0]
    return (
        {figure: above("ours", figure) for figure in figures}
        | {f"nothing_{figure}": above("nothing", figure) for figure in figures}
        | {"bare_us": statistics.median(turn["us"] for turn in turns["bare"])}
    )


async def _mebibytes(app: App) -> float:
    """The most that Python held at once for one request."""
    tracemalloc.start()
    await app(request(), ask, swallow)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**20
