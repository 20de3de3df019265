"""Reads the counts of a usage object, valid or not, and remembers if one was invalid."""

from decimal import Decimal
from typing import Any

from usagepipe.schemas.event import MAX_TOKENS


class Counts:
    """The counts of a usage object, by name. Remembers whether any exist and whether any is bad."""

    def __init__(self, usage: dict[str, Any]) -> None:
        self.usage = usage
        self.found = False
        self.sound = True

    def first(self, *names: str) -> int:
        """The first count of `names` that is not 0: some servers fill in one of two names only."""
        usage = self.usage
        for name in names:
            value = usage.get(name)
            if type(value) is int and 0 < value <= MAX_TOKENS:  # as nearly all are
                self.found = True
                return value
            if value is not None and (count := self.count(value)):
                return count
        return 0

    def detail(self, parents: tuple[str, ...], *names: str) -> int:
        """The first count of `names` that is not 0, inside the first of `parents` that has one."""
        usage = self.usage
        for parent in parents:
            details = usage.get(parent)
            if details and isinstance(details, dict):
                for name in names:
                    value = details.get(name)
                    if value is not None and (count := self.count(value)):
                        return count
        return 0

    def count(self, value: object) -> int:
        """`value` as a count. Negative and fractional ones are 0, and the usage is not sound."""
        self.found = True
        if type(value) is int and 0 <= value <= MAX_TOKENS:
            return value
        # Some gateways write 31.0. The range is looked at first: 1e999999999 as an int is a bomb.
        if isinstance(value, float | Decimal) and 0 <= value <= MAX_TOKENS and value == int(value):
            return int(value)
        self.sound = False
        return 0
