"""Ports on this machine. A port found free may be taken a moment later; a bound one is ours."""

import errno
import socket

from usagepipe.schemas.errors import WrongUseError

HOST = "127.0.0.1"  # the servers have no passwords: nobody else may reach them


def bound_socket(port: int, option: str) -> socket.socket:
    """A listening socket on `port`; 0 is a free one. `option` is what the user sets it with.

    Raises:
        WrongUseError: the port is taken or may not be used.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = "taken by another program" if error.errno == errno.EADDRINUSE else error.strerror
        raise WrongUseError(
            f"Port {port} on {HOST} is {reason}: give {option} another, or 0 for a free one."
            if error.errno == errno.EADDRINUSE
            else f"Port {port} on {HOST} cannot be used ({reason}): give {option} another."
        ) from error
    return listener


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def check_free(port: int, option: str) -> None:
    """
    Raises:
        WrongUseError: the port is taken or may not be used.
    """
    bound_socket(port, option).close()
