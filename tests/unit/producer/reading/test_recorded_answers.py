"""What real providers answered: 760 recorded answers of some twenty hosts."""

import csv
import random
from decimal import Decimal
from itertools import pairwise

import pytest

from tests.support.installs import ROOT
from tests.support.plain_reading import numbers_of, units_of
from tests.support.recorded import RecordedAnswer, recorded_answers
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage
from usagepipe.producer.telemetry.counters import UnrecordedReason

LIMIT = 256 * 1024
GOLDEN = ROOT / "tests" / "golden" / "recorded_usage.csv"
SPLITS = 20
Read = Usage | UnrecordedReason


def read(answer: RecordedAnswer, pieces: list[bytes], limit: int = LIMIT) -> Read:
    reader = AnswerReader(answer.content_type, "", limit)
    for piece in pieces:
        reader.feed(piece)
    return reader.read()


def read_whole(answer: RecordedAnswer) -> Read:
    return read(answer, [answer.body.encode()])


def differing(pieces_of: "Cutter", limit: int = LIMIT) -> list[str]:
    """The names of the answers that give another result in these pieces."""
    return [
        answer.name
        for answer in recorded_answers()
        if read(answer, pieces_of(answer.body.encode()), limit) != read_whole(answer)
    ]


class Cutter:
    """Cuts bodies into single bytes, or at some random places."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = None if seed is None else random.Random(seed)

    def __call__(self, body: bytes) -> list[bytes]:
        if self._random is None:
            return [body[at : at + 1] for at in range(len(body))]
        cuts = sorted(self._random.randint(0, len(body)) for _ in range(12))
        return [body[start:end] for start, end in pairwise([0, *cuts, len(body)])]


def test_each_recorded_answer_gives_what_a_plain_reading_finds() -> None:
    """Right where an answer carries usage, and none invented elsewhere."""
    found = {answer.name: _numbers(read_whole(answer)) for answer in recorded_answers()}

    expected = {answer.name: numbers_of(answer) for answer in recorded_answers()}
    assert expected == found
    assert 760 == len(found)
    assert 689 == sum(numbers is not None for numbers in found.values())


def test_each_recorded_answer_gives_the_units_that_a_plain_reading_finds() -> None:
    """Searches, tools' tokens and modalities, of every host that reports them."""
    read = {answer.name: read_whole(answer) for answer in recorded_answers()}
    found = {name: usage.units for name, usage in read.items() if isinstance(usage, Usage)}

    assert {a.name: units_of(a) for a in recorded_answers() if a.name in found} == found
    assert 70 == sum(bool(units) for units in found.values())


def test_recorded_answers_without_usage_have_a_reason() -> None:
    """All of them are sound, so what has no usage says just that."""
    found = map(read_whole, recorded_answers())

    assert {"no_usage"} == {reason for reason in found if isinstance(reason, str)}


def test_the_numbers_checked_by_hand_are_found() -> None:
    """Each host and shape, with the model's name: read from the recordings by a person."""
    by_name = {answer.name: answer for answer in recorded_answers()}
    with GOLDEN.open(newline="") as file:
        golden = list(csv.DictReader(file))

    found = {row["name"]: read_whole(by_name[row["name"]]) for row in golden}

    assert {row["name"]: _usage(row) for row in golden} == {
        name: usage._replace(parts=()) for name, usage in found.items() if isinstance(usage, Usage)
    }
    assert len(golden) >= 60


def test_advisors_in_recorded_answers_are_parts() -> None:
    """Three answers have one: the only calls of other models in all recordings."""
    found = {
        answer.name: usage.parts
        for answer in recorded_answers()
        if isinstance(usage := read_whole(answer), Usage) and usage.parts
    }

    folder, opus, fable = "test_anthropic/test_anthropic_advisor_tool", "opus-4-8", "fable-5"
    assert {
        f"{folder}.yaml#0": (Usage(f"claude-{opus}", 2_518, 22, 2_540),),
        f"{folder}_message_replay.yaml#0": (Usage(f"claude-{opus}", 2_529, 38, 2_567),),
        f"{folder}_redacted.yaml#0": (Usage(f"claude-{fable}", 2_564, 99, 2_663),),
    } == found


def test_single_bytes_give_the_same() -> None:
    """Fed byte by byte, every answer gives what it gives whole."""
    assert [] == differing(Cutter())


@pytest.mark.parametrize("seed", range(SPLITS))
def test_random_splits_give_the_same(seed: int) -> None:
    """However the network cuts an answer, it gives what it gives whole."""
    assert [] == differing(Cutter(seed))


@pytest.mark.parametrize("cutter", [Cutter(), Cutter(1), Cutter(2)], ids=["bytes", "1", "2"])
def test_answers_over_the_bound_give_the_same(cutter: Cutter) -> None:
    """With a bound that every answer is over, the projection finds what the parser finds."""
    assert [] == differing(cutter, limit=16)


def _numbers(usage: Read) -> tuple[int | Decimal | None, ...] | None:
    if isinstance(usage, str):
        return None
    return (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        usage.cost,
    )


def _usage(row: dict[str, str]) -> Usage:
    names = ("prompt", "completion", "total", "cached", "cache_write", "reasoning")
    tokens = {f"{name}_tokens": int(row[name]) for name in names}
    units = dict(unit.split("=") for unit in row["units"].split())
    return Usage(
        model=row["model"],
        usage_quality=row["quality"],  # type: ignore[arg-type]
        cost=Decimal(row["cost"]) if row["cost"] else None,
        units={name: int(count) for name, count in units.items()},
        service_tier=row["service_tier"],
        **tokens,  # type: ignore[arg-type]
    )
