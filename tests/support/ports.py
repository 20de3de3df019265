"""Ports on this machine, for servers that a test stops and starts again on the same port.

They lie below the range that the kernel takes for outgoing connections: a client that retries a
stopped server on a port of that range can end up connected to itself and keep the port taken.
"""

import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"
_LASTING: Final = range(15_000, 32_000)  # Linux gives outgoing connections 32,768 and up


def lasting_port() -> int:
    """A port that nobody listens on now and that stays free while its server is away."""
    while True:
        port = random.choice(_LASTING)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def is_answered(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
