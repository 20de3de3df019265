"""Probes what listens at ClickHouse's address before the driver connects: does it speak HTTP, TLS?

It costs one GET /ping per client. Without it the driver waits up to 198 s for a server that speaks
something else, and its error describes pools and attempts instead of the mistake in the address.
"""

import http.client
import socket
import ssl
import time
from dataclasses import replace
from typing import Final

from usagepipe.schemas.errors import ServerUnavailableError, SettingsError, UsagePipeError
from usagepipe.schemas.logger import HarmlessLogger
from usagepipe.schemas.settings import ClickHouseAddress

log = HarmlessLogger("usagepipe.schemas")

CONNECT_SECONDS: Final = 5  # of one attempt
ANSWER_SECONDS: Final = 5  # a busy server answers /ping within milliseconds
RETRY_SECONDS: Final = 0.25  # between two attempts: a server's start takes seconds
VARIABLE: Final = "USAGEPIPE_CLICKHOUSE"
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


def probe_until_answered(address: ClickHouseAddress, wait_seconds: float) -> None:
    """Return when something answers HTTP at the address; one attempt takes 10 s at most.

    Raises:
        ServerUnavailableError: nothing does, `wait_seconds` long.
        SettingsError: the address has https and the server has no TLS, or the other way round.
    """
    deadline = time.monotonic() + wait_seconds
    announced = False
    while True:
        try:
            return _ask(address)
        except ServerUnavailableError:
            if time.monotonic() >= deadline:
                raise
        if not announced:
            log.info("clickhouse_awaited", address=str(address), at_most_seconds=wait_seconds)
            announced = True
        time.sleep(RETRY_SECONDS)


def _ask(address: ClickHouseAddress) -> None:
    place = (address.host, address.port)
    connection = http.client.HTTPConnection(*place, timeout=ANSWER_SECONDS)
    try:
        connection.sock = socket.create_connection(place, CONNECT_SECONDS)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServerUnavailableError("ClickHouse", str(address), reason) from None
    try:
        connection.sock.settimeout(ANSWER_SECONDS)
        if address.secure:
            # The probe sends no secret: the driver checks the certificate afterwards.
            context = replace(address.tls, verify=False).context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=address.host)
        connection.request("GET", "/ping")
        connection.getresponse().close()
    except (OSError, http.client.HTTPException) as error:
        raise _meaning(error, address) from None
    finally:
        connection.close()


def _meaning(error: Exception, address: ClickHouseAddress) -> UsagePipeError:
    match error:
        case TimeoutError():
            reason = f"something listens there, but gives no answer within {ANSWER_SECONDS} s"
        case ssl.SSLError() if error.reason in _NOT_TLS:
            return SettingsError((f"{VARIABLE}: {address} does not speak TLS: write http://.",))
        case ssl.SSLError() if not isinstance(error, ssl.SSLEOFError):
            reason = f"TLS failed ({error.reason or error})"
        case http.client.BadStatusLine() if not isinstance(error, ConnectionError):
            return SettingsError((f"{VARIABLE}: {address} does not answer in HTTP: is it TLS?",))
        case _:
            reason = "something listens there, but hangs up without an answer"
            if address.secure and not address.tls.certificate:
                reason += f". Does it want a client certificate ({VARIABLE}_TLS_CERTIFICATE)?"
    return ServerUnavailableError("ClickHouse", str(address), reason)
