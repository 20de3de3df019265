"""The worker without announce, fence and verification: what these three cost.

It commits plainly what is stored, as an at-least-once consumer does. For the benchmark only.
"""

import sys
from typing import Any

from usagepipe.cli.root import run
from usagepipe.consumer.kafka.thread import ChunkThread
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.block import Block
from usagepipe.consumer.worker.committer import Committer
from usagepipe.consumer.worker.insertion import Inserter


def leave_out() -> None:
    """Take the three away from this process."""

    async def announce(self: Committer, partition: Any, pending: Announcement) -> None:
        self.acknowledge(partition, pending.first, pending.topic_id, pending.leader_epoch)

    async def commit_as(self: Any, membership: Any, positions: Any) -> None:
        await original(self, self._current_membership(), positions)

    async def is_complete(self: Inserter, block: Block) -> bool:
        return True

    original = ChunkThread._commit_as
    Committer.announce = announce  # type: ignore[method-assign]
    ChunkThread._commit_as = commit_as  # type: ignore[method-assign]
    Inserter._is_complete = is_complete  # type: ignore[method-assign]


if __name__ == "__main__":
    leave_out()
    sys.exit(run(["worker", *sys.argv[1:]]))
