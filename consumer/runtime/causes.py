"""Explains an error of ClickHouse or Kafka: its kind, its name, and what to do.

A server's text may quote rows or queries, so only its code and the meaning of the code are passed
on. Texts of usagepipe, of the operating system and of certificates are passed on as they are.
"""

import errno
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final, NamedTuple

from aiokafka.errors import BrokerResponseError, KafkaConnectionError, KafkaError

from usagepipe.consumer.clickhouse.refusals import classify
from usagepipe.consumer.protocol.positions import FencedError
from usagepipe.schemas.clickhouse.codes import LOCKED_OUT, Kind, reason
from usagepipe.schemas.errors import AccessError, ServerUnavailableError, UsagePipeError

NO_LISTENER: Final = "connection refused: nothing listens there. Is it up, and is the port right?"
UNKNOWN_HOST: Final = "unknown host: the name is not found. Check the address, and the DNS"
NO_ANSWER: Final = "no answer in time: is it up and not overloaded, and does a firewall block it?"
CUT: Final = "the connection was closed before the answer: does it restart, or is there a proxy?"
CERTIFICATE: Final = "TLS: the certificate is refused ({}). Set its CA, or the name it was made for"
NO_TLS: Final = "TLS failed ({}): does the server speak TLS on this port, as the address says?"
LOGIN: Final = "the user, the password or the token is wrong: correct it in the settings"
RIGHT: Final = "a right is missing: allow this user the topics and the group of the settings"
NO_TOPIC: Final = "the topic is missing: run usagepipe migrate"
NO_BROKER: Final = "no broker answers: see kafka_unreachable for the reason"
REBALANCE: Final = "the group is being rebalanced, and the worker waits for its new partitions"
PROXY: Final = "HTTP {} without a code of ClickHouse: a proxy answers in its place. Check the proxy"
HUNG_UP: Final = "the broker closes the connection: does its port expect TLS, or a login?"
OTHER: Final = "unknown error: look at the log of the server"

_NO_ENTRY: Final = frozenset({"401", "403", "407"})
_STATUS: Final = re.compile(r"\bHTTP (?:status|error|response code)?\s*(\d{3})\b")
# By the names of classes of aiokafka, urllib3 and the standard library.
_BY_NAME: Final = {
    "AuthenticationFailedError": (Kind.OPERATOR, LOGIN),
    "AuthenticationMethodNotSupported": (Kind.OPERATOR, LOGIN),
    "IllegalSaslStateError": (Kind.OPERATOR, LOGIN),
    "SaslAuthenticationFailed": (Kind.OPERATOR, LOGIN),
    "UnsupportedSaslMechanismError": (Kind.OPERATOR, LOGIN),
    "UnknownTopicOrPartitionError": (Kind.OPERATOR, NO_TOPIC),
    "ConnectTimeoutError": (Kind.SERVER, NO_ANSWER),
    "KafkaTimeoutError": (Kind.SERVER, NO_ANSWER),
    "NodeNotReadyError": (Kind.SERVER, NO_ANSWER),
    "ReadTimeoutError": (Kind.SERVER, NO_ANSWER),
    "RequestTimedOutError": (Kind.SERVER, NO_ANSWER),
    "ProtocolError": (Kind.SERVER, CUT),
    "IncompleteRead": (Kind.SERVER, CUT),
}


class Cause(NamedTuple):
    """Why an attempt failed. `why` is never empty. It says what to do, if anything helps."""

    kind: Kind
    error: str  # as `code 243 NOT_ENOUGH_SPACE`, or the error's class
    why: str
    # The server refuses everything of this worker. It may accept the inserts of another one.
    locked_out: bool = False


def cause_of(error: Exception) -> Cause:
    """The cause of `error`, without any text of rows and without secrets."""
    refusal = classify(error)
    if refusal.code is not None:
        why = reason(refusal.code, str(error)) or OTHER
        return Cause(refusal.kind, refusal.title, why, refusal.code in LOCKED_OUT)
    name = type(error).__name__
    for link in _chain(error):
        found = _BY_NAME.get(type(link).__name__) or _known(link)
        if found is not None:
            kind, why = found
            return Cause(kind, name, why, locked_out=isinstance(link, ssl.SSLCertVerificationError))
    if isinstance(error, AccessError):  # its text may contain the status of a token endpoint
        return Cause(Kind.OPERATOR, name, str(error))
    if status := _STATUS.search(str(error)):
        kind = Kind.SERVER if status[1].startswith("5") else Kind.OPERATOR
        return Cause(kind, name, PROXY.format(status[1]), locked_out=status[1] in _NO_ENTRY)
    if isinstance(error, ServerUnavailableError):
        return Cause(Kind.SERVER, name, error.reason)
    if isinstance(error, UsagePipeError):
        return Cause(Kind.OPERATOR, name, str(error))
    return Cause(Kind.SERVER, name, OTHER)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and the errors that led to it, the root first: drivers wrap what they caught."""
    links: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop()
        if isinstance(link, BaseException) and link not in links:
            links.append(link)
            waiting += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
    yield from reversed(links)


def _known(error: BaseException) -> tuple[Kind, str] | None:
    match error:
        case ssl.SSLCertVerificationError():
            return Kind.OPERATOR, CERTIFICATE.format(error.verify_message or error.reason)
        case socket.gaierror():
            return Kind.OPERATOR, UNKNOWN_HOST
        case ConnectionRefusedError():
            return Kind.SERVER, NO_LISTENER
        case ssl.SSLEOFError() | ConnectionError() | http.client.RemoteDisconnected():
            return Kind.SERVER, CUT
        case ssl.SSLError():
            return Kind.OPERATOR, NO_TLS.format(error.reason or "no reason given")
        case TimeoutError():
            return Kind.SERVER, NO_ANSWER
        case OSError(errno=int(number)) if number in errno.errorcode:
            return Kind.SERVER, f"{os.strerror(number)}: look at the network and its settings"
        case KafkaError():
            return _of_kafka(error)
        case FencedError():
            return Kind.SERVER, REBALANCE
    return None


def _of_kafka(error: KafkaError) -> tuple[Kind, str] | None:
    name = type(error).__name__
    if "AuthorizationFailed" in name:
        return Kind.OPERATOR, f"{RIGHT} ({name})"
    if isinstance(error, KafkaConnectionError):
        return Kind.SERVER, HUNG_UP if "closed" in str(error) else NO_BROKER
    if isinstance(error, BrokerResponseError):
        return Kind.SERVER, f"Kafka answers {name}: {error.description}"
    return None


def brief(error: BaseException) -> str:
    """One line about an error, for the log.

    For an error of ClickHouse, only code and name: its text quotes the refused rows, and the
    content of events must not be in a log.
    """
    if isinstance(error, Exception) and (refusal := classify(error)).code is not None:
        return f"{type(error).__name__}: {refusal.title}"
    return f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]
