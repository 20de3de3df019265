"""Native threads leave signals to the application's own threads."""

import signal
from collections.abc import Iterable

from usagepipe.producer.process.native import Thread


class _MaskAtStart(Thread):
    """Records the signal mask that the thread has before it runs a line of its own."""

    mask: Iterable[int] = ()

    def _run(self) -> None:
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        super()._run()


def test_thread_never_receives_a_signal_not_even_while_it_starts() -> None:
    """Python would call the handler only when the main thread's sleep ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    thread = _MaskAtStart(lambda: None, "test")

    thread.start()

    assert thread.ended.wait(10)
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} <= set(thread.mask)
    assert signal.SIGSEGV not in set(thread.mask)
    assert before == signal.pthread_sigmask(signal.SIG_BLOCK, ())
