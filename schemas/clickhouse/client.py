"""Connects to ClickHouse over HTTP, and turns the driver's errors into ours.

Its clients have no session, so threads may share them: in a session, ClickHouse refuses a second
query while the first runs.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usagepipe.schemas.clickhouse import codes
from usagepipe.schemas.clickhouse.codes import LOCKED_OUT
from usagepipe.schemas.clickhouse.probe import CONNECT_SECONDS, VARIABLE, probe_until_answered
from usagepipe.schemas.errors import (
    AccessError,
    MigrationError,
    MissingExtraError,
    ServerUnavailableError,
    SettingsError,
    UsagePipeError,
)
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MAX_REASON_CHARS = 500  # of a server's answer: it quotes the whole query

# ClickHouse's error codes.
UNKNOWN_COLUMN = (16, 47)  # of a table, and of a query
UNKNOWN_TABLE = 60
UNKNOWN_DATABASE = 81
WRONG_CREDENTIALS = (192, 193, 194, 516)  # unknown user, wrong or missing password, failed

# What web servers and other services answer to its queries; 502 and 503 are a proxy's, without it.
NOT_CLICKHOUSE = (301, 302, 307, 308, 400, 404, 405, 501)
NO_VERSION = "response to server version query"

# A user's profile may cut answers silently at a limit. Sums and exports must be complete, so a
# limit is an error there.
WHOLE_ANSWERS: Final[Mapping[str, str]] = {
    f"{limit}_overflow_mode": "throw"
    for limit in ("read", "result", "group_by", "sort", "distinct", "set", "timeout")
} | {"skip_unavailable_shards": "0"}

_HTTP_STATUS = re.compile(r"\bHTTP status (\d+)")
_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED\] certificate verify failed: ([^(']*\w)")
_FRAME = re.compile(r"^Received ClickHouse exception, code: \d+, server response: ")
_URL = re.compile(r" \(for url [^()\s]*\)$")
_CODE = re.compile(r"\bCode: (\d+)")


def connect(
    address: ClickHouseAddress, *, wait_seconds: float = 0, **client_options: Any
) -> "Client":
    """A client of the database at `address`, waiting up to `wait_seconds` for a starting server.

    Blocks. `client_options` go to `clickhouse_connect.get_client` and win over the defaults;
    `database=None` connects to the user's default database instead of the address's.

    Raises:
        MissingExtraError: clickhouse-connect is not installed.
        ServerUnavailableError: no server answers at the address.
        AccessError: the server refuses the user or the password, or a right is missing.
        SettingsError: it has no TLS or is no ClickHouse.
        MigrationError: the database does not exist.
    """
    with usagepipe_errors(address):
        import clickhouse_connect

        options: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "username": address.user,
            "password": address.password,
            "database": address.database,
            "secure": address.secure,
            "autogenerate_session_id": False,
            "connect_timeout": CONNECT_SECONDS,
            "tz_mode": "aware",  # else times are read as naive ones
        }
        options |= _tls_options(address) | client_options
        probe_until_answered(address, wait_seconds)
        return clickhouse_connect.get_client(**options)


def _tls_options(address: ClickHouseAddress) -> dict[str, Any]:
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
    """One for all clients, as the driver has one; another when a file is replaced.

    The driver's own options lack the password of a key.
    """
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


@contextmanager
def usagepipe_errors(place: object) -> Iterator[None]:
    """Raises errors of the driver as ours, see `as_usagepipe_error`.

    Raises:
        MissingExtraError: the driver is not installed.
    """
    try:
        from clickhouse_connect.driver.exceptions import Error
    except ImportError as error:
        raise MissingExtraError("query", "clickhouse_connect") from error
    try:
        yield
    except Error as error:
        raise as_usagepipe_error(error, place) from None  # the chain repeats it in 90 lines


def as_usagepipe_error(error: Exception, place: object) -> UsagePipeError:
    """Our error for an error of the driver, with the cure.

    `place` is the address to name; `str()` of it must not show a password. The result keeps the
    server's code.
    """
    meaning = _meaning(error, place)
    meaning.code = error_code(error)
    return meaning


def _meaning(error: Exception, place: object) -> UsagePipeError:
    code = error_code(error)
    # The server's own message, without the driver's additions.
    reason = _URL.sub("", _FRAME.sub("", str(error)))[:MAX_REASON_CHARS]
    if code is None and (found := _HTTP_STATUS.search(reason)) and int(found[1]) in NOT_CLICKHOUSE:
        return SettingsError(
            (f"{VARIABLE}: {place} is not a ClickHouse server: it answers HTTP {found[1]}.",)
        )
    if code is None and NO_VERSION in reason:
        return SettingsError(
            (f"{VARIABLE}: {place} is not a ClickHouse server: it reports no version.",)
        )
    if code is None and (found := _CERTIFICATE.search(str(error))):
        return SettingsError((f"{VARIABLE}: the certificate of {place} is refused: {found[1]}.",))
    if code is None:
        return ServerUnavailableError("ClickHouse", str(place), reason)
    if code in WRONG_CREDENTIALS:
        return AccessError(f"{VARIABLE}: {place} refuses the user or the password.")
    if code == UNKNOWN_DATABASE:
        return MigrationError(f"{place}: the database does not exist. Run usagepipe migrate.")
    if code == UNKNOWN_TABLE:
        return MigrationError(f"{place}: a table is missing. Run usagepipe migrate.")
    if code in UNKNOWN_COLUMN:  # the tables are an older version's
        return MigrationError(f"{place}: a column is missing. Run usagepipe migrate.")
    if code in LOCKED_OUT:
        why = codes.reason(code, str(error))
        return AccessError(f"ClickHouse at {place} refuses: {why} ({codes.title(code)}).")
    return UsagePipeError(f"ClickHouse at {place} refused: {reason}")


def error_code(error: Exception) -> int | None:
    """ClickHouse's error code in an error of the driver; None if no server answered."""
    code = getattr(error, "code", None)  # where the driver only quotes it, None
    if isinstance(code, int):
        return code
    quoted = _CODE.search(str(error))
    return int(quoted[1]) if quoted else None
