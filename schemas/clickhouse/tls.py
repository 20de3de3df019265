"""TLS options for ClickHouse's driver, which does not support the password of a key."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from usagepipe.schemas.settings import ClickHouseAddress


def tls_options(address: ClickHouseAddress) -> dict[str, Any]:
    """What `clickhouse_connect.get_client` needs for the TLS settings of `address`.

    Raises:
        ValueError: a file is not what it should be.
    """
    tls = address.tls
    if not address.secure or (tls.verify and not tls.ca and not tls.certificate):
        return {}
    paths = [path for path in (tls.ca, tls.certificate, tls.key) if path]
    options: dict[str, Any] = {
        "verify": tls.verify,
        "pool_mgr": _pool(address, tuple(_changed_at(path) for path in paths)),
    }
    if tls.certificate and not address.password:
        options |= {"client_cert": tls.certificate, "tls_mode": "mutual"}  # it logs the user in
    return options


@lru_cache(maxsize=8)
def _pool(address: ClickHouseAddress, changed_at: tuple[float, ...]) -> Any:
    """One for all clients, as the driver has one; another when a file is replaced."""
    from clickhouse_connect.driver.httputil import check_env_proxy, get_pool_manager

    proxy = check_env_proxy("https", address.host, address.port)
    return get_pool_manager(
        ssl_context=address.tls.context(), verify=address.tls.verify, https_proxy=proxy
    )


def _changed_at(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0
