"""Bodies in chunks."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usagepipe.producer.answers import AnswerReader
from usagepipe.producer.extraction import Usage

BODY = json.dumps({"model": "m", "t": "ü😀", "usage": {"prompt_tokens": 3}}, ensure_ascii=False)
LIMIT = 1_024


@settings(deadline=None)  # a shared machine may pause
@given(st.lists(st.integers(0, len(BODY.encode())), max_size=10))
def test_any_split_gives_the_same_usage(cuts: list[int]) -> None:
    """Where the network cuts the body makes no difference, not even inside of a character."""
    raw = BODY.encode()
    borders = [0, *sorted(cuts), len(raw)]
    reader = AnswerReader("application/json", "", LIMIT)

    for start, end in pairwise(borders):
        reader.feed(raw[start:end])

    assert Usage("m", 3, 0, 3) == reader.read()


def test_body_over_its_bound_is_not_held() -> None:
    """Past the bound nothing is kept, however much more comes."""
    reader = AnswerReader("application/json", "", LIMIT)

    for _ in range(100):
        reader.feed(b"x" * LIMIT)

    assert "too_large" == reader.read()
    assert [] == reader._chunks


@pytest.mark.parametrize(
    "text",
    [
        r'{"t": "half a pair: \ud83d", "usage": {"prompt_tokens": 3}}',
        '\ufeff{"usage": {"prompt_tokens": 3}}',
        '{"deep": ' + "[" * 300 + "]" * 300 + ', "usage": {"prompt_tokens": 3}}',
    ],
)
def test_oddities_beside_the_usage_do_not_hide_it(text: str) -> None:
    """Half a surrogate pair, a BOM or deep nesting is no reason to lose the count."""
    reader = AnswerReader("application/json", "identity", LIMIT)

    reader.feed(text.encode())

    assert Usage("", 3, 0, 3) == reader.read()


def test_bytes_that_are_no_utf8_do_not_hide_the_usage() -> None:
    """A broken character in a text is replaced, as a client would."""
    reader = AnswerReader("application/json", "", LIMIT)

    reader.feed(b'{"t": "\xff", "usage": {"prompt_tokens": 3}}')

    assert Usage("", 3, 0, 3) == reader.read()


@settings(deadline=None)  # a shared machine may pause
@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(raw: bytes) -> None:
    """Broken bodies give a reason, never an error."""
    reader = AnswerReader("", "", LIMIT)

    reader.feed(raw)

    assert isinstance(reader.read(), str | Usage)
