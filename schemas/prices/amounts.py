"""Exact money: whole numbers of 10^-12 US dollars, the smallest step of a stored cost."""

from fractions import Fraction
from typing import Final

from usagepipe.schemas.event import COST_DECIMALS, MAX_COST

MONEY_UNITS: Final = 10**COST_DECIMALS  # of one US dollar
LIMIT: Final = MAX_COST * MONEY_UNITS  # no event may cost as much


def rounded(numerator: int, denominator: int) -> int:
    """The quotient as a whole number, half to even: the one rounding of a price."""
    quotient, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and quotient & 1):
        return quotient + 1
    return quotient


def cost_text(amount: int) -> str:
    """US dollars of `amount` money units, with all decimals: 0.012500000000."""
    digits = str(amount)  # this way takes half the time of a format
    if len(digits) <= COST_DECIMALS:
        return "0." + digits.zfill(COST_DECIMALS)
    return digits[:-COST_DECIMALS] + "." + digits[-COST_DECIMALS:]


def dollars(amount: int) -> Fraction:
    """US dollars of `amount` money units."""
    return Fraction(amount, MONEY_UNITS)
