"""What `usagepipe local` checks before it creates anything."""

import socket
from pathlib import Path

import pytest

from usagepipe.local.ports import HOST
from usagepipe.local.serving import serve
from usagepipe.schemas.errors import WrongUseError


@pytest.mark.parametrize("server", ["kafka", "clickhouse"])
def test_a_taken_port_leaves_no_data_folder(server: str, tmp_path: Path) -> None:
    """The error names the option, and the next start finds nothing half done."""
    data = tmp_path / "data"
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        kafka, clickhouse = (port, 0) if server == "kafka" else (0, port)

        with pytest.raises(WrongUseError, match=f"Port {port} .*--{server}-port"):
            serve(data, kafka, clickhouse, lambda addresses: None)

    assert not data.exists()
