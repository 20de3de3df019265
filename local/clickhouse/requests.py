"""What a request to ClickHouse's HTTP interface says beside its statement and data.

Everything in the URL that the interface does not keep for itself is a setting and must reach the
engine: a lost `insert_deduplication_token` would let a retry count twice.
"""

import hmac
from base64 import b64decode
from dataclasses import dataclass
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final

from starlette.requests import Request

from usagepipe.local.clickhouse.coding import accepted_coding
from usagepipe.local.clickhouse.engine import Scope
from usagepipe.local.clickhouse.exceptions import Code, refusal

# Names in the URL that are not settings. There are no sessions: each request is independent.
_RESERVED: Final = frozenset(
    {
        *("query", "query_id", "database", "default_format", "user", "password", "quota_key"),
        *("role", "session_id", "session_timeout", "session_check", "close_session"),
        *("stacktrace", "compress", "decompress", "buffer_size", "wait_end_of_query"),
        "client_protocol_version",
    }
)
_PARAMETER: Final = "param_"


@dataclass(frozen=True, slots=True)
class Call:
    """A request, read from its URL, headers and form fields."""

    scope: Scope
    query: str
    answer_format: str  # when the statement names none
    answer_coding: str  # "": none
    whole: bool  # answer only when all is computed: an error is then always a status


@dataclass(frozen=True, slots=True)
class Account:
    """The one account of the server."""

    user: str = "default"
    password: str = ""

    def check(self, request: Request) -> None:
        """
        Raises:
            ClickHouseError: the user or password is wrong.
        """
        user, password = _credentials(request)
        given, own = f"{user}\0{password}", f"{self.user}\0{self.password}"
        if not hmac.compare_digest(given.encode(), own.encode()):
            raise refusal(
                Code.AUTHENTICATION_FAILED,
                f"{user}: Authentication failed: password is incorrect, or there is no user with "
                f"such name. This local server knows only {self.user!r}.",
            )


def _credentials(request: Request) -> tuple[str, str]:
    headers, query = request.headers, request.query_params
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = b64decode(value).decode().partition(":")
        except ValueError:
            raise refusal(Code.AUTHENTICATION_FAILED, "Invalid authentication.") from None
        return user, password
    return query.get("user", "default"), query.get("password", "")


def read_call(request: Request, fields: dict[str, str]) -> Call:
    """The call; `fields` are those of a form, which add to the URL.

    Raises:
        ClickHouseError: it asks for what this server does not have.
    """
    given = dict(request.query_params) | fields
    if any(given.get(name, "0") not in {"0", ""} for name in ("compress", "decompress")):
        raise refusal(
            Code.NOT_IMPLEMENTED,
            "compress and decompress (ClickHouse's own block compression) are not known here: "
            "use Content-Encoding and Accept-Encoding.",
        )
    compressed = given.get("enable_http_compression", "0") in {"1", "true"}
    accepted = request.headers.get("accept-encoding", "")
    return Call(
        scope=_scope(request, given),
        query=given.get("query", ""),
        answer_format=given.get("default_format")
        or request.headers.get("x-clickhouse-format", "TabSeparated"),
        answer_coding=accepted_coding(accepted) if compressed else "",
        whole=given.get("wait_end_of_query", "0") in {"1", "true"},
    )


def _scope(request: Request, given: dict[str, str]) -> Scope:
    return Scope(
        database=given.get("database") or request.headers.get("x-clickhouse-database", ""),
        settings={
            name: value
            for name, value in given.items()
            if name not in _RESERVED and not name.startswith(_PARAMETER)
        },
        parameters={
            name.removeprefix(_PARAMETER): value
            for name, value in given.items()
            if name.startswith(_PARAMETER)
        },
        read_only=request.method in {"GET", "HEAD"},  # as a server: a link must not change data
    )


def read_form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a multipart form.

    Raises:
        ClickHouseError: it is not a form, or carries a file (a table sent with a query).
    """
    head = b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n"
    message = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise refusal(Code.BAD_ARGUMENTS, "The body is no multipart form.")
    return dict(_field(part) for part in message.iter_parts())


def _field(part: Message) -> tuple[str, str]:
    if part.get_filename() is not None:
        raise refusal(Code.NOT_IMPLEMENTED, "External tables are not known here.")
    name = part.get_param("name", header="content-disposition")
    value = part.get_payload(decode=True)
    if not isinstance(name, str) or not isinstance(value, bytes):
        raise refusal(Code.BAD_ARGUMENTS, "A part of the form has no name.")
    return name, value.decode("utf-8", "surrogateescape")
