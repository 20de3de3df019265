"""The web address of a worker is checked before it starts."""

import socket

import pytest

from usagepipe.cli.worker import usable_port
from usagepipe.schemas.errors import WrongUseError


def test_a_taken_port_is_named_with_its_setting() -> None:
    """The error names the port, and how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(WrongUseError, match=f"^USAGEPIPE_WEB_PORT is {port} .*--web-port"):
            usable_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_of_this_machine_is_named_with_its_setting(host: str) -> None:
    """The error names the address, because another port would not help."""
    with pytest.raises(WrongUseError, match=f"^USAGEPIPE_WEB_HOST is {host!r}") as caught:
        usable_port(host, 0)

    assert "USAGEPIPE_WEB_PORT" not in str(caught.value)
