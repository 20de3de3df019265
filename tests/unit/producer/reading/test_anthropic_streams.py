"""Usage of one Claude answer in several events, or by several runs of the model."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tests.support.usages import usage_of
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.usage import Usage

Counts = dict[str, Any]


def start(model: str = "claude-a", **usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": model, "usage": usage}}


def delta(**usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


STOP = {"type": "message_stop"}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}


def read(*events: dict[str, Any], pieces: int = 1, limit: int = 256 * 1024) -> Usage | str:
    body = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)
    reader = AnswerReader("text/event-stream", "", limit)
    cuts = [len(body) * part // pieces for part in range(pieces + 1)]
    for begin, end in pairwise(cuts):
        reader.feed(body[begin:end])
    return reader.read()


def classes(usage: Usage | str | None) -> tuple[int, int, int, int] | None:
    """Prompt, cache read, cache written, output; the quality has to be good."""
    if not isinstance(usage, Usage) or usage.usage_quality != "complete":
        return None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    tokens = usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens
    return *tokens, usage.completion_tokens


def tokens(
    fresh: Any = None, read: Any = None, written: Any = None, out: Any = None, **more: Any
) -> Counts:
    """A usage object with only the counts that are given; ... means null."""
    counts = {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": out,
    }
    given = {name: count for name, count in counts.items() if count is not None}
    return {name: None if count is ... else count for name, count in given.items()} | more


DELTAS = {
    "start whole, delta split": (tokens(6_040, out=1), tokens(40, 6_000, out=75), (6_040, 6_000)),
    "start whole with zeros, delta split": (
        tokens(6_040, 0, 0, 1),
        tokens(40, 6_000, 0, 75),
        (6_040, 6_000),
    ),
    "delta split into all three": (
        tokens(6_040, 0, 0, 1),
        tokens(40, 2_000, 4_000, 75),
        (6_040, 2_000, 4_000),
    ),
    "all of it read from the cache": (tokens(6_040, 0), tokens(0, 6_040, out=75), (6_040, 6_040)),
    "start split, delta whole": (
        tokens(40, 6_000, out=1),
        tokens(6_040, 0, out=75),
        (6_040, 0),
    ),
    "start split, delta whole without its split": (
        tokens(40, 6_000, out=1),
        tokens(6_040, out=75),
        (6_040, 6_000),
    ),
    "start split in three, delta whole with nulls": (
        tokens(40, 2_000, 4_000, 1),
        tokens(6_040, ..., ..., 75),
        (6_040, 2_000, 4_000),
    ),
    "start all from the cache, delta whole": (
        tokens(0, 6_040, out=1),
        tokens(6_040, out=75),
        (6_040, 6_040),
    ),
    "start whole, delta all from the cache": (
        tokens(6_040, 0, 0, 1),
        tokens(read=6_040, out=75),
        (6_040, 6_040),
    ),
    "start split, delta all written": (
        tokens(40, 6_000, out=1),
        tokens(0, written=6_040, out=75),
        (6_040, 0, 6_040),
    ),
    "a write that became a read": (
        tokens(40, 0, 6_000),
        tokens(40, 6_000, 0, 75),
        (6_040, 6_000, 0),
    ),
    "an estimate that was too high": (tokens(7_000), tokens(40, 6_000, out=75), (6_040, 6_000)),
    "an estimate that was too low": (tokens(9), tokens(40, 6_000, out=75), (6_040, 6_000)),
    "delta of output only": (tokens(40, 6_000, 20, 1), tokens(out=75), (6_060, 6_000, 20)),
    "delta of nulls": (
        tokens(40, 6_000, 20, 1),
        tokens(..., ..., ..., 75),
        (6_060, 6_000, 20),
    ),
    "delta of zeros": (tokens(40, 6_000, 20, 1), tokens(0, 0, 0, 75), (6_060, 6_000, 20)),
    "delta with zeros for the cache": (
        tokens(40, 6_000, 20, 1),
        tokens(40, 0, 0, 75),
        (6_060, 6_000, 20),
    ),
    "delta with zero for the input": (
        tokens(40, 0, 0, 1),
        tokens(0, 6_000, 0, 75),
        (6_040, 6_000),
    ),
    "start of zeros": (tokens(0, 0, 0, 0), tokens(40, 6_000, 20, 75), (6_060, 6_000, 20)),
    "start without input": (tokens(out=1), tokens(40, 6_000, 20, 75), (6_060, 6_000, 20)),
    "input that a server tool grew": (tokens(2_293), tokens(4_714, out=75), (4_714, 0)),
    "grown input, cache as before": (
        tokens(40, 6_000, 0),
        tokens(900, 6_000, 0, 75),
        (6_900, 6_000),
    ),
    "grown input and cache": (tokens(40, 6_000), tokens(90, 12_500, out=75), (12_590, 12_500)),
    "grown input, cache left out": (tokens(40, 6_000), tokens(900, out=75), (6_900, 6_000)),
    "fractions of gateways": (
        tokens(6_040.0, 0.0),
        tokens(40.0, 6_000.0, out=75.0),
        (6_040, 6_000),
    ),
}


@pytest.mark.parametrize(("first", "last", "expected"), DELTAS.values(), ids=DELTAS)
def test_delta_is_a_later_snapshot(first: Counts, last: Counts, expected: tuple[int, ...]) -> None:
    """The counts of a delta belong together: what moved to another class is counted once."""
    prompt, cached, written = (*expected, 0)[:3]
    stream = [start(**first), TEXT, delta(**last), STOP]

    assert (prompt, cached, written, 75) == classes(read(*stream))
    assert read(*stream) == read(*stream, pieces=10_000)
    assert read(*stream) == read(*stream, limit=16)


def test_each_of_several_deltas_is_a_snapshot() -> None:
    """Some servers send a delta with each step. A last one of zeros changes nothing."""
    deltas = [delta(**tokens(40, 6_000, out=75)), delta(**tokens(90, 6_000, out=80))]

    usage = read(start(**tokens(6_040, 0, 0, 1)), *deltas, delta(**tokens(0, 0, 0, 0)), STOP)

    assert (6_090, 6_000, 0, 80) == classes(usage)


def run(
    kind: str | None,
    fresh: Any = None,
    read: Any = None,
    written: Any = None,
    out: Any = None,
    **more: Any,
) -> Counts:
    return tokens(fresh, read, written, out, **({} if kind is None else {"type": kind}), **more)


SUMMARY = run("compaction", 120, 48_000, out=77)
RUNS = {
    "a compaction": ([SUMMARY, run("message", 210, out=9)], (48_330, 48_000, 0, 86)),
    "zeros in the runs": (
        [run("compaction", 120, 48_000, 0, 77), run("message", 210, 0, 0, 9)],
        (48_330, 48_000, 0, 86),
    ),
    "nulls in the runs": ([SUMMARY, run("message", 210, ..., ..., 9)], (48_330, 48_000, 0, 86)),
    "several of each": (
        [SUMMARY, run("message", 100, out=4), SUMMARY, run("message", 110, 5, 6, 5)],
        (96_461, 96_005, 6, 163),
    ),
    "a run without a type": ([SUMMARY, run(None, 210, out=9)], (48_330, 48_000, 0, 86)),
    "an advisor": (
        [
            run("message", 110, out=4),
            run("advisor_message", 9_000, 9, 9, 9, model="claude-b"),
            run("message", 100, out=5),
        ],
        (210, 0, 0, 9),
    ),
    "compaction alone": ([SUMMARY], (48_330, 48_000, 0, 86)),
    "runs of zeros": ([SUMMARY, run("message", 0, 0, 0, 0)], (48_330, 48_000, 0, 86)),
    "runs without output": (
        [run("compaction", 120, 48_000), run("message", 210)],
        (48_330, 48_000, 0, 9),
    ),
}


@pytest.mark.parametrize(("runs", "expected"), RUNS.values(), ids=RUNS)
def test_iterations_are_believed_before_totals(runs: list[Counts], expected: Any) -> None:
    """For each class that they contain: in a delta, with or without totals for it, and in JSON."""
    total = tokens(210, 0, 0, 9)
    first = start(**tokens(120, 48_000, 0, 1)) if SUMMARY in runs else start(**tokens(210, out=1))

    for usage in (total, tokens(210, 0, out=9), tokens(210, out=9)):
        assert expected == classes(read(first, TEXT, delta(**usage, iterations=runs), STOP))
        body = {"type": "message", "model": "claude-a", "usage": usage | {"iterations": runs}}
        assert expected == classes(usage_of(body))


def test_compaction_in_a_stream_is_counted_once() -> None:
    """The start's usage is the compaction's: the delta's zero for the cache is what is left."""
    runs = [SUMMARY, run("message", 210, out=9)]
    stream = [
        start(**tokens(120, 48_000, out=1)),
        TEXT,
        delta(**tokens(210, 0, out=9), iterations=runs),
        STOP,
    ]

    expected = Usage("claude-a", 48_330, 86, 48_416, cached_tokens=48_000)
    assert expected == read(*stream)
    assert expected == read(*stream, pieces=10_000)
    assert expected == read(*stream, limit=16)


def test_iterations_without_a_class_leave_it_to_the_totals() -> None:
    """What no run contains is what the start and the delta say."""
    runs = [run("message", 210, out=9)]
    first = start(**tokens(40, 6_000, 20, 1))

    assert (6_230, 6_000, 20, 9) == classes(read(first, delta(**tokens(out=9), iterations=runs)))
    zeros = delta(**tokens(0, 0, 0, 9), iterations=runs)
    assert (6_230, 6_000, 20, 9) == classes(read(first, zeros))


def test_our_own_mark_in_an_answer_means_nothing() -> None:
    """The name under which settled classes are kept may be in an answer, with any value."""
    settled = {"settled by iterations": 7}
    zeros = delta(**tokens(0, 0, 0, 9), **settled)

    assert (60, 0, 20, 9) == classes(read(start(**tokens(40, 0, 20, 1)), zeros))


@pytest.mark.parametrize("absent", [{}, {"iterations": None}, {"iterations": []}])
def test_iterations_of_an_earlier_event_do_not_hide_later_totals(absent: Counts) -> None:
    """In the start they describe the start; a compaction stays counted when a delta follows."""
    early = start(**tokens(25, out=1), iterations=[run("message", 25, out=1)])
    assert (30, 0, 0, 15) == classes(read(early, delta(**tokens(30, out=15), **absent), STOP))

    runs = [SUMMARY, run("message", 210, out=9)]
    middle = delta(**tokens(210, 0, out=9), iterations=runs)
    last = delta(**tokens(250, 0, out=14), **absent)
    stream = [start(**tokens(120, 48_000, out=1)), middle, last, STOP]
    assert (48_370, 48_000, 0, 91) == classes(read(*stream))


def test_iterations_of_a_fallback_are_of_the_model_that_answered() -> None:
    """A model that declined has its own price: its tokens are never summed with another's."""
    declined = run("message", 500, 9_000, 0, 3, model="claude-a")
    served = run("fallback_message", 9_412, 0, 31, 264, model="claude-b")
    first = start(**tokens(500, 9_000, 0, 1))

    for usage in (tokens(9_412, 0, 31, 264), tokens(out=264)):
        last = delta(**usage, iterations=[declined, served])
        assert (9_443, 0, 31, 264) == classes(read(first, TEXT, last, STOP))


@pytest.mark.parametrize("bad", [-5, 1.5, "9", True])
def test_iterations_with_a_bad_count_are_inconsistent(bad: Any) -> None:
    """An invalid count marks the usage, in any place."""
    runs = [run("message", 210, out=bad), run("compaction", 120, out=7)]
    body = {"type": "message", "usage": tokens(210, out=9, iterations=runs)}

    usage = usage_of(body)

    assert usage is not None
    assert ("inconsistent", 330) == (usage.usage_quality, usage.prompt_tokens)


@pytest.mark.parametrize("cut", ["start", "text", "delta"])
def test_stream_that_was_cut_is_partial(cut: str) -> None:
    """What was seen counts; a delta that says why the message stopped was its last word."""
    events = [start(**tokens(6_040, 0, 0, 1)), TEXT, delta(**tokens(40, 6_000, out=75))]
    kept = events[: ["start", "text", "delta"].index(cut) + 1]
    reader = AnswerReader("text/event-stream", "", 1024)
    for event in kept:
        reader.feed(b"data: %s\n\n" % json.dumps(event).encode())

    usage = reader.read(complete=False)

    assert isinstance(usage, Usage)
    assert (6_040, "partial") == (usage.prompt_tokens, usage.usage_quality)


def test_exact_fractions_are_compared_like_counts() -> None:
    """JSON numbers with a point are read as decimals."""
    first = {"type": "message_start", "message": {"usage": tokens(Decimal("6040.0"), Decimal(0))}}
    last = delta(**tokens(0, Decimal("6040.0"), out=75))

    assert (6_040, 6_040, 0, 75) == classes(read_objects(first, last))


def read_objects(*events: dict[str, Any]) -> Usage | None:
    tally = Tally()
    for event in events:
        tally.add(event)
    return tally.usage()


def advice(model: object = "claude-b", fresh: Any = 9_000, **more: Any) -> Counts:
    return run("advisor_message", fresh, 9, 8, 7, model=model, **more)


def test_runs_of_other_models_are_parts() -> None:
    """Each with its own model and classes, in a stream and in JSON; the last list counts."""
    part = Usage("claude-b", 9_017, 7, 9_024, cached_tokens=9, cache_write_tokens=8)
    runs = [run("message", 110, out=4), advice(), run("message", 100, out=5), advice(fresh=1)]
    expected = (part, Usage("claude-b", 18, 7, 25, cached_tokens=9, cache_write_tokens=8))
    body = {"type": "message", "model": "claude-a", "usage": {"iterations": runs}}
    deltas = [
        delta(**tokens(out=4), iterations=runs[:2]),
        delta(**tokens(out=9), iterations=runs),
        delta(**tokens(out=9)),
    ]
    stream = [start(**tokens(110, out=1)), TEXT, *deltas, STOP]

    for found in (usage_of(body), read(*stream), read(*stream, pieces=10_000)):
        assert isinstance(found, Usage)
        assert (210, 9) == (found.prompt_tokens, found.completion_tokens)
        assert expected == found.parts


def test_parts_of_several_messages_add_up() -> None:
    """A gateway's stream with two messages: the advice of both counts."""
    message = [start(**tokens(5, out=1)), delta(**tokens(out=2), iterations=[advice()]), STOP]
    second = json.loads(json.dumps(message).replace("msg_1", "msg_2"))

    found = read(*message, *second)

    assert isinstance(found, Usage)
    assert (10, 4) == (found.prompt_tokens, found.completion_tokens)
    assert ["claude-b", "claude-b"] == [part.model for part in found.parts]


@pytest.mark.parametrize(
    ("other", "model"),
    [
        (advice(None), "advisor_message"),
        (advice(7), "advisor_message"),
        (run("subagent_message", 1, out=1, model="claude-c"), "claude-c"),
    ],
)
def test_run_of_another_model_is_named(other: Counts, model: str) -> None:
    """Without a model's name its type is the name: the tokens count. A type that is not known yet
    is another model's if it names one."""
    found = read(start(**tokens(5, out=1)), delta(**tokens(out=2), iterations=[other]), STOP)

    assert isinstance(found, Usage)
    assert [model] == [part.model for part in found.parts]


@pytest.mark.parametrize(
    "nothing",
    [
        run("subagent_message", 1, out=1),
        run("message", 1, out=1, model="claude-c"),
        run("fallback_message", 5, out=2, model="claude-a"),
        run("advisor_message", 0, 0, 0, 0, model="claude-b"),
        {"type": ["advisor_message"], "model": {}},
    ],
)
def test_what_is_no_run_of_another_model_is_no_part(nothing: Counts) -> None:
    """A type that is not known and names no model, a run of the model itself, and no tokens."""
    found = read(start(**tokens(5, out=1)), delta(**tokens(out=2), iterations=[nothing]), STOP)

    assert isinstance(found, Usage)
    assert () == found.parts


def test_bad_count_of_an_advisor_is_its_own() -> None:
    """The numbers of the answering model stay good."""
    found = read(
        start(**tokens(5, out=1)), delta(**tokens(out=2), iterations=[advice(fresh=-5)]), STOP
    )

    assert isinstance(found, Usage)
    assert ("complete", ["inconsistent"]) == (
        found.usage_quality,
        [part.usage_quality for part in found.parts],
    )


def test_parts_of_a_stream_that_was_cut_are_complete() -> None:
    """A run is listed when it has ended; the message itself may have used more."""
    found = read(start(**tokens(5, out=1), iterations=[advice()]), TEXT)

    assert isinstance(found, Usage)
    assert ("partial", ["complete"]) == (
        found.usage_quality,
        [part.usage_quality for part in found.parts],
    )


def test_parts_are_bounded_and_no_token_is_lost() -> None:
    """255 of them; a further one is added to the last of its model, else to one of `(other)`."""
    runs = [advice(f"claude-{number}", fresh=1) for number in range(300)]
    body = {"type": "message", "usage": {"iterations": [*runs, advice("claude-3", fresh=1)]}}

    found = usage_of(body)

    assert found is not None
    assert 255 == len(found.parts)
    assert (18, 36) == tuple(found.parts[at].prompt_tokens for at in (2, 3))
    assert ("(other)", 46 * 18) == (found.parts[-1].model, found.parts[-1].prompt_tokens)
    assert 301 * 18 == sum(part.prompt_tokens for part in found.parts)


def test_parts_of_many_messages_are_bounded() -> None:
    """A stream without end stays within the bound."""
    events = []
    for number in range(300):
        first = start(**tokens(5, out=1))
        first["message"]["id"] = f"msg_{number}"
        events += [first, delta(**tokens(out=2), iterations=[advice(fresh=1)]), STOP]

    found = read(*events)

    assert isinstance(found, Usage)
    assert (255, 300 * 18) == (len(found.parts), sum(part.prompt_tokens for part in found.parts))
    assert {"claude-b"} == {part.model for part in found.parts}


@pytest.mark.parametrize("total", [4_908, 2_390])
def test_advisor_in_openais_form_is_a_part(total: int) -> None:
    """LiteLLM's proxy adds all runs up. Where only Claude's own are added up, it is the same."""
    runs = [run("message", 1_128, out=110), run("message", 1_262, out=11)]
    other = run("advisor_message", 2_518, out=22, model="claude-b")
    completion = 143 if total > 2_390 else 121
    usage = {"prompt_tokens": total, "completion_tokens": completion, "iterations": [*runs, other]}

    found = usage_of({"object": "chat.completion", "choices": [], "usage": usage})

    assert Usage("", 2_390, 121, 2_511, parts=(Usage("claude-b", 2_518, 22, 2_540),)) == found


def test_runs_that_do_not_add_up_change_nothing() -> None:
    """Another form of iterations is left alone."""
    runs = [run("message", 5, out=1), run("advisor_message", 7, out=1, model="claude-b")]
    usage = {"prompt_tokens": 99, "completion_tokens": 2, "iterations": runs}

    assert Usage("", 99, 2, 101) == usage_of({"choices": [], "usage": usage})
