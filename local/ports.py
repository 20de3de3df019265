"""Ports on this machine. A port that was free may be taken a moment later; a bound port is not.

Free ports come from below the kernel's range for outgoing connections: a client that retries an
unreachable server on a port of that range can connect to itself.
"""

import errno
import random
import socket
from typing import Final

from usagepipe.schemas.errors import WrongUseError

HOST: Final = "127.0.0.1"  # the servers have no passwords: nobody else may reach them
_FREE: Final = range(15_000, 32_000)  # Linux gives outgoing connections 32,768 and up
_ATTEMPTS: Final = 100


def bound_socket(port: int, option: str) -> socket.socket:
    """A listening socket on `port`; 0 is a free one. `option` is what the user sets it with.

    Raises:
        WrongUseError: the port is taken or may not be used.
    """
    try:
        return _listening(port) if port else _listening_anywhere()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is taken by another program" if taken else f"cannot be used ({error.strerror})"
        raise WrongUseError(
            f"Port {port} on {HOST} {reason}: give {option} another, or 0 for a free one."
        ) from error


def _listening(port: int) -> socket.socket:
    # The protocol is named, so that asyncio sets TCP_NODELAY on what it accepts: without it an
    # answer on a kept connection can wait 40 ms for the client's acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _listening_anywhere() -> socket.socket:
    for port in random.sample(_FREE, _ATTEMPTS):
        try:
            return _listening(port)
        except OSError:
            continue
    return _listening(0)


def free_port() -> int:
    """A port that no program listens on now."""
    with _listening_anywhere() as probe:
        return int(probe.getsockname()[1])


def check_free(port: int, option: str) -> None:
    """
    Raises:
        WrongUseError: the port is taken or may not be used.
    """
    bound_socket(port, option).close()
