"""The single values of a price file: rates, dates, hours, names."""

import re
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from usagepipe.schemas.event import MAX_ID_CHARS
from usagepipe.schemas.prices.document import RATE_DECIMALS, RATE_LIMIT
from usagepipe.schemas.prices.yaml_nodes import Problems, quoted, text_of

if TYPE_CHECKING:
    import yaml

_NUMBER: Final = re.compile(r"-?(\d{1,30}(\.\d{1,60})?|\.\d{1,60})([eE][-+]?\d{1,2})?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?", re.ASCII)
_TOKENS: Final = re.compile(r"\d{1,12}", re.ASCII)


def number_of(node: "yaml.Node", what: str, problems: Problems) -> Decimal | None:
    """A number, exactly as it is written."""
    text = text_of(node, what, problems)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        problems.add(node, f"{what} is {quoted(text)}: write a number, such as 0.25 or 1e-6")
        return None
    return Decimal(text)


def rate_of(
    node: "yaml.Node", what: str, problems: Problems, per: int, limit: int = RATE_LIMIT
) -> Decimal | None:
    """US dollars for `per` units, from 0 to below `limit`."""
    rate = number_of(node, what, problems)
    if rate is None:
        return None
    if rate < 0:
        problems.add(node, f"{what} is {rate}: a rate is 0 or more")
    elif rate >= limit:
        units = f"{per:,} units" if per > 1 else "one"
        problems.add(node, f"{what} is {rate}: it must be below {limit:,} US dollars for {units}")
    elif round(rate, RATE_DECIMALS) != rate:
        problems.add(node, f"{what} is {rate}: a rate has at most {RATE_DECIMALS} decimals")
    else:
        return rate
    return None


def share_of(node: "yaml.Node", what: str, problems: Problems) -> Decimal | None:
    """The part of a price that is paid."""
    share = number_of(node, what, problems)
    if share is None:
        return None
    if not 0 < share <= 1:
        problems.add(
            node,
            f"{what} is {share}: it is the part of the list price that you pay, above 0 and at "
            "most 1 (0.92 for a discount of 8 %)",
        )
        return None
    if round(share, RATE_DECIMALS) != share:
        problems.add(node, f"{what} is {share}: it has at most {RATE_DECIMALS} decimals")
        return None
    return share


def day_of(node: "yaml.Node", what: str, problems: Problems) -> str | None:
    """A day, as ISO text."""
    text = text_of(node, what, problems)
    if text is None:
        return None
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:  # 30 February
        pass
    problems.add(node, f"{what} is {quoted(text)}: write a day of the calendar, as 2026-01-31")
    return None


def clock_of(node: "yaml.Node", what: str, problems: Problems) -> str | None:
    """A time of day in UTC, as ISO text."""
    text = text_of(node, what, problems)
    if text is None:
        return None
    if not _CLOCK.fullmatch(text):
        problems.add(node, f"{what} is {quoted(text)}: write a time of day in UTC, as 16:30")
        return None
    return time.fromisoformat(text).isoformat()


def tokens_of(node: "yaml.Node", what: str, problems: Problems) -> int | None:
    """A number of tokens."""
    text = text_of(node, what, problems)
    if text is None:
        return None
    if not _TOKENS.fullmatch(text):
        problems.add(node, f"{what} is {quoted(text)}: write a number of tokens, as 200000")
        return None
    return int(text)


def id_of(node: "yaml.Node", what: str, problems: Problems) -> str | None:
    """An id as events have it."""
    text = text_of(node, what, problems)
    if text is not None and len(text) > MAX_ID_CHARS:
        problems.add(node, f"{what} is longer than {MAX_ID_CHARS} characters")
        return None
    return text


def name_of(node: "yaml.Node", what: str, problems: Problems) -> str | None:
    """The name of a model or provider, in lower case: there, case does not count."""
    text = id_of(node, what, problems)
    return text and text.lower()
