"""Amounts of an explanation as text: exact, and never in the notation with an exponent."""

from decimal import Decimal
from fractions import Fraction
from typing import Final

from usagepipe.schemas.event import COST_DECIMALS

UNENDING_DECIMALS: Final = 24  # of an amount that no decimal number can write out


def money_text(cost: Decimal | None) -> str:
    """A cost with all decimals that ClickHouse stores."""
    return "unknown" if cost is None else f"{cost:.{COST_DECIMALS}f}"


def exact_text(amount: Fraction) -> str:
    """`amount` with all its decimals, or with `UNENDING_DECIMALS` where they have no end."""
    twos, rest = _divided(amount.denominator, 2)
    fives, rest = _divided(rest, 5)
    decimals = max(twos, fives) if rest == 1 else UNENDING_DECIMALS
    digits = str(round(amount * 10**decimals)).zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


def _divided(number: int, prime: int) -> tuple[int, int]:
    """How often `prime` divides `number`, and what is left."""
    times = 0
    while number % prime == 0:
        number, times = number // prime, times + 1
    return times, number
