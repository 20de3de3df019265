"""Decides when a batch that is not full is closed: each insert has a fixed price."""

from usagepipe.consumer.worker.intake import Intake

# While more records are in the log, a batch waits this long to become full.
BACKLOG_SECONDS = 2.0
# A batch that time closes waits twice as long as the last insert took, but never longer than this.
MOST_LINGER_SECONDS = 0.6
# While no insert may begin anyway, a batch grows, and this is the pause until the next look.
BUSY_SECONDS = 0.02


def seconds_to_close(
    intake: Intake, now: float, *, inserting: bool, last_insert_seconds: float, sink_is_busy: bool
) -> float | None:
    """How long until the next batch is cut: 0 is now, None is not before something happens.

    While a batch of the partition is inserted, time closes none: the next one would have to wait,
    and a larger one is cheaper.
    """
    # A slow server gets larger inserts.
    linger = min(MOST_LINGER_SECONDS, 2 * last_insert_seconds)
    if intake.log_goes_on and not intake.paused:
        linger = BACKLOG_SECONDS
    wait = intake.seconds_to_close(now, linger)
    if wait is None or intake.fill >= 1:
        return wait
    if inserting:
        return None
    if wait > 0 and intake.has_room:
        return wait
    return BUSY_SECONDS if sink_is_busy else 0.0
