"""The reading side: what was used, by whom, over time.

`UsageQueries` answers from rollups and reads raw rows only where the ends of a range cut them;
every sum equals the sum over raw.
"""

from usagepipe.query.periods import TimeRange
from usagepipe.query.usage_queries import UsageQueries

__all__ = ["TimeRange", "UsageQueries"]
