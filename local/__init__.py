"""Local stand-ins for the servers: an embedded broker, and chDB with ClickHouse's interface."""

from usagepipe.local.servers import LocalClickHouse, LocalServers

__all__ = ["LocalClickHouse", "LocalServers"]
