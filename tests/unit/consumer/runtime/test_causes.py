"""Every kind of trouble has a kind and a cause that says what to do, and quotes nothing."""

import errno
import http.client
import socket
import ssl

import pytest
from aiokafka.errors import (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from usagepipe.consumer.protocol.positions import FencedError
from usagepipe.consumer.runtime.causes import cause_of
from usagepipe.schemas.clickhouse.client import as_usagepipe_error
from usagepipe.schemas.clickhouse.codes import LOCKED_OUT, TABLE, Kind
from usagepipe.schemas.errors import MigrationError, ServerUnavailableError, SettingsError

SECRET = "s3cret of a user"


def of_server(code: int, name: str, text: str = SECRET) -> DatabaseError:
    return DatabaseError(f"Code: {code}. DB::Exception: {text}. ({name}) (version 25.8)", code=code)


def wrapped(root: Exception) -> Exception:
    """As drivers raise it: their own error around what they caught."""
    error = OperationalError(f"Error {SECRET} executing HTTP request")
    error.__cause__ = ConnectionError("pool")
    error.__cause__.__context__ = root
    return error


def certificate() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_message = "certificate has expired"
    return error


def wrong_version() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (wrapped(ConnectionRefusedError(111, "refused")), Kind.SERVER, "connection refused"),
        (wrapped(socket.gaierror(-2, "Name")), Kind.OPERATOR, "unknown host"),
        (wrapped(TimeoutError("timed out")), Kind.SERVER, "no answer in time"),
        (TimeoutError(), Kind.SERVER, "no answer in time"),
        (wrapped(certificate()), Kind.OPERATOR, "certificate has expired"),
        (wrapped(wrong_version()), Kind.OPERATOR, "does the server speak TLS"),
        (wrapped(ConnectionResetError(104, "reset")), Kind.SERVER, "the connection was closed"),
        (wrapped(BrokenPipeError(32, "pipe")), Kind.SERVER, "the connection was closed"),
        (http.client.RemoteDisconnected("x"), Kind.SERVER, "the connection was closed"),
        (OSError(errno.EHOSTUNREACH, "x"), Kind.SERVER, "No route to host: look at the network"),
        (DatabaseError(f"received HTTP status 502 {SECRET}"), Kind.SERVER, "HTTP 502"),
        (DatabaseError(f"received HTTP status 403 {SECRET}"), Kind.OPERATOR, "HTTP 403"),
        (ServerUnavailableError("ClickHouse", "http://h", "mute"), Kind.SERVER, "mute"),
        (SettingsError(("http://h/d is no ClickHouse.",)), Kind.OPERATOR, "is no ClickHouse"),
        (MigrationError("Run usagepipe migrate."), Kind.OPERATOR, "usagepipe migrate"),
        (of_server(516, "AUTHENTICATION_FAILED"), Kind.OPERATOR, "correct USAGEPIPE_CLICKHOUSE"),
        (of_server(81, "UNKNOWN_DATABASE"), Kind.OPERATOR, "run usagepipe migrate"),
        (of_server(243, "NOT_ENOUGH_SPACE"), Kind.SERVER, "the disk is full"),
        (of_server(241, "MEMORY_LIMIT_EXCEEDED"), Kind.SERVER, "out of memory"),
        (
            of_server(497, "ACCESS_DENIED", "necessary to have the grant INSERT(a, b) ON d.t"),
            Kind.OPERATOR,
            "lacks the right INSERT: GRANT it",
        ),
        (of_server(99_999, "NEW_ERROR"), Kind.SERVER, "look at the log of the server"),
        (AuthenticationFailedError(SECRET), Kind.OPERATOR, "the password or the token is wrong"),
        (SaslAuthenticationFailed(SECRET), Kind.OPERATOR, "the password or the token is wrong"),
        (TopicAuthorizationFailedError("t"), Kind.OPERATOR, "a right is missing"),
        (GroupAuthorizationFailedError("g"), Kind.OPERATOR, "a right is missing"),
        (UnknownTopicOrPartitionError("t"), Kind.OPERATOR, "the topic is missing"),
        (KafkaConnectionError("Unable to bootstrap"), Kind.SERVER, "no broker answers"),
        (KafkaConnectionError("Connection at h closed"), Kind.SERVER, "expect TLS, or a login"),
        (NodeNotReadyError("x"), Kind.SERVER, "no answer in time"),
        (RequestTimedOutError("x"), Kind.SERVER, "no answer in time"),
        (NotLeaderForPartitionError("x"), Kind.SERVER, "NotLeaderForPartitionError"),
        (KafkaError(SECRET), Kind.SERVER, "look at the log of the server"),
        (FencedError("moved on"), Kind.SERVER, "the group is being rebalanced"),
        (ValueError(SECRET), Kind.SERVER, "look at the log of the server"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else None,
)
def test_the_cause_of_an_error(error: Exception, kind: Kind, words: str) -> None:
    """The root counts, not what a driver made of it; texts of servers are never passed on."""
    cause = cause_of(error)

    assert kind == cause.kind
    assert words in cause.why
    assert SECRET not in str(cause)


@pytest.mark.parametrize("code", TABLE)
def test_every_code_has_a_cause(code: int) -> None:
    """Also where the error passed through the probe, which makes another of it."""
    error = as_usagepipe_error(of_server(code, TABLE[code].name), "http://h:8123/d")

    cause = cause_of(error)

    assert cause.why
    assert f"code {code} {TABLE[code].name}" == cause.error
    assert (code in LOCKED_OUT) == cause.locked_out


def test_a_login_that_a_proxy_refuses_locks_the_worker_out_as_well() -> None:
    """Another worker may have another address; a server in trouble fails for every worker."""
    refused = cause_of(DatabaseError("received HTTP status 401"))
    busy = cause_of(DatabaseError("received HTTP status 503"))

    assert (True, False) == (refused.locked_out, busy.locked_out)
    assert cause_of(wrapped(certificate())).locked_out
    assert not cause_of(wrapped(ConnectionRefusedError())).locked_out
