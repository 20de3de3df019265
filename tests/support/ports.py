"""Ports on this machine, for servers that a test stops and starts again on the same port.

They lie below the range that the kernel takes for outgoing connections: a client that retries a
stopped server on a port of that range can end up connected to itself and keep the port taken.
"""

import random
import socket
from typing import Final

from tests.support.side_by_side import process_number

HOST: Final = "127.0.0.1"
# Below what `usagepipe local` chooses from, and above the ports that servers have by default.
_LASTING: Final = range(10_000, 15_000)
_SHARE: Final = 1_000  # each process of a test run has its own, so that no two choose the same
_given: Final[set[int]] = set()


def lasting_port() -> int:
    """A port that nobody listens on now and that stays free while its server is stopped."""
    number = process_number()
    share = _LASTING if number is None else _LASTING[number % 5 * _SHARE :][:_SHARE]
    while True:
        port = random.choice(share)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        _given.add(port)
        return port


def is_answered(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
