"""A laptop's stand-ins for the servers: an embedded broker, and chDB behind ClickHouse's HTTP."""

from usagepipe.local.servers import LocalClickHouse, LocalServers

__all__ = ["LocalClickHouse", "LocalServers"]
