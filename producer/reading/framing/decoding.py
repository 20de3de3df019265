"""Decodes JSON, as lenient about text as providers are, and exact for money.

`pydantic_core` is several times faster than the standard library, but makes floats. So a document
that may contain a cost is parsed with `Decimal` instead.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pydantic_core import from_json

MAX_DIGITS: Final = 40  # of an integer: int() of millions of digits is slow


def decoded(text: bytes | bytearray) -> Any:
    """The value of a JSON document.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    if text.find(b'cost"') >= 0:  # faster than `in`; or one of several words: `estimated_cost`
        return exactly_decoded(text)
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        # It is stricter than providers: half a surrogate pair, a BOM or invalid UTF-8 must not
        # cost the counts beside them.
        return exactly_decoded(text)


def exactly_decoded(text: bytes | bytearray) -> Any:
    """The same, with every fraction as a `Decimal`."""
    return json.loads(text.decode("utf-8-sig", "replace"), parse_float=_fraction, parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float("inf")


def _fraction(digits: str) -> Decimal | float:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent beyond those of decimals
        return float("nan")
