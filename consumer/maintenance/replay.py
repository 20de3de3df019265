"""Reads a part of the log again and stores what the tables lack of it.

It goes up to where the workers have committed and never further: what lies behind is theirs.
Progress is committed in a group of its own, and only when the rollups of what was written are
right: a replay that breaks off goes on there, and one that has ended begins anew.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from usagepipe.consumer.dead_letters.index import DeadLetterIndex
from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.maintenance.log_cuts import first_cut
from usagepipe.consumer.maintenance.reconcile import Findings, LogRecord, Reconciler, batches
from usagepipe.consumer.rollups.comparison_sql import UnsettledOffsets
from usagepipe.consumer.topics.group_offsets import GroupOffset, GroupOffsets
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.settings import StorageSettings

STATEMENT_SECONDS: Final = 300.0
HEAL_EVERY_SECONDS: Final = 15.0  # each time compares the days that were written to
PAUSE_SECONDS: Final = 0.2  # Ctrl-C is heard in between
_FORM: Final = 1

Advanced = Callable[[int], None]  # so many offsets are done


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: of all partitions or one, by offset or by the time of arrival.

    `end` and `end_offset` are the first that is not wanted; what is None has no bound.
    """

    partition: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    start_offset: int | None = None
    end_offset: int | None = None

    def name(self) -> list[str | int | None]:
        """What tells this part of the log from another: progress belongs to it alone."""
        return [
            self.start.isoformat() if self.start else None,
            self.end.isoformat() if self.end else None,
            self.start_offset,
            self.end_offset,
        ]


@dataclass(frozen=True, slots=True)
class Part:
    """The offsets of one partition that are replayed: `first` … `end` - 1, none if they meet.

    `asked_end` is the end that was asked for, if the workers have not come so far; `resumed` tells
    that an earlier run has done what lies before `first`.
    """

    partition: int
    first: int
    end: int
    asked_end: int | None = None
    resumed: bool = False

    @property
    def offsets(self) -> int:
        return max(0, self.end - self.first)


@dataclass(slots=True)
class Tally:
    """What a replay met: records by what became of them."""

    records: int = 0
    stored: int = 0  # already
    copies: int = 0  # events that are stored at another place
    rejected: int = 0  # no events, or refused by ClickHouse
    written: int = 0  # or, in a dry run, lacking
    raw_expired: int = 0  # may have been stored before raw's retention took them: left alone
    corrections: int = 0  # rows that were added to rollups
    days: set[datetime] = field(default_factory=set)

    def add(self, found: Findings) -> None:
        lacking = len(found.lacking)
        rejected = len(found.rejected) + found.dead_lettered
        raw_expired = len(found.raw_expired)
        self.records += found.stored + len(found.copies) + rejected + lacking + raw_expired
        self.stored += found.stored
        self.copies += len(found.copies)
        self.rejected += rejected
        self.written += lacking
        self.raw_expired += raw_expired


class Replayer:
    """Replays a topic. Use it in one thread and close it."""

    def __init__(self, settings: StorageSettings, progress_group: str, wait_seconds: float) -> None:
        """Blocks until Kafka answers. `wait_seconds`: how long a rollup may be under way.

        Raises:
            WrongUseError: the progress would be kept in the workers' group.
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        if progress_group == settings.group:
            raise WrongUseError(
                f"{progress_group} is the workers' group: a replay keeps its progress in another."
            )
        self._topic = settings.topic
        self._settings = settings
        self._letter_topic = settings.dead_letter_topic
        self._letters: DeadLetterIndex | None = None
        self._cuts: dict[int, int | None] = {}
        self._wait_seconds = wait_seconds
        self._log = LogReader(settings, settings.topic)
        self._topic_id = self._log.topic_id()
        self._workers = GroupOffsets(settings, settings.group)
        self._progress = GroupOffsets(settings, progress_group)
        self._reconciler = Reconciler(
            settings.clickhouse_address,
            settings.topic,
            self._topic_id,
            STATEMENT_SECONDS,
            self._unsettled,
        )

    def close(self) -> None:
        for each in (self._log, self._workers, self._progress, self._reconciler):
            each.close()

    def plan(self, wanted: Wanted) -> list[Part]:
        """The parts to replay, one of each wanted partition, cut to what the workers have done.

        Raises:
            WrongUseError: the topic has no such partition.
        """
        numbers = self._log.partitions
        if wanted.partition is not None:
            if wanted.partition not in numbers:
                raise WrongUseError(f"{self._topic} has no partition {wanted.partition}.")
            numbers = (wanted.partition,)
        committed = self._workers.read(self._topic, numbers)
        done = self._progress.read(self._topic, numbers)
        return [
            self._resumed(self._part(number, wanted, committed.get(number)), wanted, done)
            for number in numbers
        ]

    def run(
        self,
        parts: Sequence[Part],
        wanted: Wanted,
        *,
        dry_run: bool = False,
        rate: float | None = None,
        advanced: Advanced = lambda _: None,
    ) -> Tally:
        """Replay the parts; `rate` is the most records a second. A dry run changes nothing.

        Raises:
            RollupsBusyError: the rollups were being written the whole time. Run it again.
        """
        tally, pace = Tally(), _Pace(rate)
        for part in parts:
            self._replay(part, wanted, tally, pace, dry_run, advanced)
            pace.await_turn(0)
        return tally

    def _replay(
        self,
        part: Part,
        wanted: Wanted,
        tally: Tally,
        pace: "_Pace",
        dry_run: bool,
        advanced: Advanced,
    ) -> None:
        position, healed = part.first, time.monotonic()
        span = OffsetRange(part.first, part.end - 1)
        for batch in batches(self._log, part.partition, span) if part.offsets else ():
            pace.await_turn(len(batch))
            # 1. Store what is lacking. A crash after it leaves rows that the next run finds by
            #    their epoch, and whose days it heals.
            found = self._without_letters(self._reconciler.look(part.partition, batch), batch)
            tally.add(found)
            if not dry_run:
                tally.days |= self._reconciler.write(found)
            end = batch[-1].offset + 1
            advanced(end - position)
            position = end
            if not dry_run and time.monotonic() - healed >= HEAL_EVERY_SECONDS:
                self._settle(part, position, wanted, tally, ended=False)
                healed = time.monotonic()
        advanced(part.end - position if part.offsets else 0)
        if not dry_run and part.offsets:
            self._settle(part, part.end, wanted, tally, ended=True)

    def _without_letters(self, found: Findings, batch: Sequence[LogRecord]) -> Findings:
        """A row that ClickHouse refused has a dead letter, and would stop the whole batch."""
        if not found.lacking:
            return found
        if self._letters is None:
            self._letters = DeadLetterIndex.read(self._settings, self._letter_topic, self._topic_id)
        refused = set(self._letters.offsets(found.partition))
        cut = self._first_cut(found.partition)
        if cut is not None:  # an old letter may be of a record that the log has lost
            refused -= {
                record.offset
                for record in batch
                if record.offset >= cut
                and not self._letters.matches(found.partition, record.offset, record.value)
            }
        left = tuple(each for each in found.lacking if each.offset not in refused)
        dead_lettered = len(found.lacking) - len(left)
        return replace(found, lacking=left, dead_lettered=dead_lettered)

    def _first_cut(self, partition: int) -> int | None:
        if partition not in self._cuts:
            with LogReader(self._settings, self._topic) as log:  # the other one is being read
                borders = partial(self._workers.epoch_borders, self._topic)
                self._cuts[partition] = first_cut(log, borders, partition)
        return self._cuts[partition]

    def _settle(
        self, part: Part, position: int, wanted: Wanted, tally: Tally, *, ended: bool
    ) -> None:
        # 2. Heal the rollups of what was written so far. A crash after it costs the work again.
        tally.corrections += self._reconciler.heal(tally.days, self._wait_seconds)
        tally.days.clear()
        # 3. Commit the progress: the next run begins here, or anew when the end was reached.
        metadata = {
            "usagepipe_replay": _FORM,
            "topic_id": self._topic_id,
            "wanted": wanted.name(),
            "ended": ended,
        }
        self._progress.commit(self._topic, part.partition, position, json.dumps(metadata))

    def _part(self, number: int, wanted: Wanted, committed: GroupOffset | None) -> Part:
        low, high = self._log.span(number)
        first = max(low, self._bound(number, wanted.start_offset, wanted.start, low, high))
        end = min(high, self._bound(number, wanted.end_offset, wanted.end, high, high))
        # Without a commit nothing is known to be stored: all of it is the workers' to store.
        limit = committed.offset if committed else low
        if end <= limit:
            return Part(number, first, max(first, end))
        return Part(number, first, max(first, limit), asked_end=end)

    def _bound(
        self, number: int, offset: int | None, moment: datetime | None, default: int, high: int
    ) -> int:
        if offset is not None:
            return offset
        if moment is None:
            return default
        found = self._log.first_since(number, moment)
        return high if found is None else found

    def _resumed(self, part: Part, wanted: Wanted, done: dict[int, GroupOffset]) -> Part:
        """The part without what an earlier run of the same one has done, if it broke off."""
        progress = done.get(part.partition)
        if progress is None or not part.first < progress.offset < part.end:
            return part
        try:
            told = json.loads(progress.metadata)
            same = told["topic_id"] == self._topic_id and told["wanted"] == wanted.name()
            if same and told["usagepipe_replay"] == _FORM and told["ended"] is False:
                return Part(part.partition, progress.offset, part.end, part.asked_end, True)
        except (ValueError, TypeError, KeyError, RecursionError):
            pass  # another tool's, or a broker that keeps no metadata
        return part

    def _unsettled(self) -> Sequence[UnsettledOffsets]:
        committed = self._workers.read(self._topic, self._log.partitions)
        return [
            UnsettledOffsets(self._topic_id, number, kept.offset)
            for number, kept in committed.items()
        ]


class _Pace:
    """Lets records through at a rate."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._next = time.monotonic()

    def await_turn(self, records: int) -> None:
        """Return when the records let through before have had their time."""
        if self._rate is None:
            return
        while (left := self._next - time.monotonic()) > 0:
            time.sleep(min(left, PAUSE_SECONDS))
        self._next = max(self._next, time.monotonic()) + records / self._rate
