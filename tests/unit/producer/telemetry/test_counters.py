"""Counting from many threads, in bounded memory."""

from concurrent.futures import ThreadPoolExecutor

from usagepipe.producer.telemetry.counters import MAX_ENDPOINTS, OTHER, Counters
from usagepipe.schemas.event import MAX_NAME_CHARS


def test_first_drop_and_every_1024th_after_it_is_worth_a_warning() -> None:
    """The 1st, 1025th and 2049th drop ask for a warning, for any reasons."""
    counters = Counters()

    reported = [n for n in range(1, 3_001) if counters.drop("queue_full" if n % 2 else "closed")]

    assert [1, 1025, 2049] == reported


def test_drops_of_many_events_are_logged_as_often_as_single_ones() -> None:
    """Events dropped together ask for a warning when a 1st, 1025th, 2049th … is among them."""
    counters = Counters()

    reported = [counters.drop("spill_overwritten", events) for events in (1, 1_023, 1, 2_000, 20)]

    assert [True, False, True, True, False] == reported
    assert {"spill_overwritten": 3_045} == counters.dropped


def test_counts_of_many_threads_add_up() -> None:
    """No count is lost between threads."""
    counters = Counters()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(lambda: [counters.drop("queue_full") for _ in range(2_000)])

    assert {"queue_full": 16_000} == counters.dropped


def test_endpoints_are_bounded() -> None:
    """Paths that a stranger makes up do not fill the memory: the rest shares one name."""
    counters = Counters()

    for number in range(MAX_ENDPOINTS + 50):
        counters.leave_out(f"/{number}", "no_user")

    assert MAX_ENDPOINTS + 1 == len(counters.unrecorded)
    assert 50 == counters.unrecorded[OTHER]["no_user"]


def test_endpoints_are_clipped() -> None:
    """Paths as long as a server takes them are kept as far as an event's endpoint reaches; what
    UTF-8 cannot carry is replaced."""
    counters = Counters()

    counters.leave_out("/" + "x" * 60_000, "no_user")
    counters.leave_out("/" + "x" * 60_001, "no_user")
    counters.leave_out("/\udcff", "no_user")

    long = "/" + "x" * (MAX_NAME_CHARS - 1)
    assert {long: {"no_user": 2}, "/?": {"no_user": 1}} == counters.unrecorded


def test_reasons_are_counted_by_endpoint() -> None:
    """Each endpoint has its own count of each reason."""
    counters = Counters()

    counters.leave_out("/a", "no_user")
    counters.leave_out("/a", "no_user")
    counters.leave_out("/a", "failed")
    counters.leave_out("/b", "no_user")

    assert {"/a": {"no_user": 2, "failed": 1}, "/b": {"no_user": 1}} == counters.unrecorded
