"""ClickHouse's HTTP interface for the embedded engine, as an ASGI application.

It parses a body while it arrives, and sends an answer over 1 MiB while it is computed: neither is
held in memory. Requests run concurrently, each on its own connection.
"""

import json
import secrets
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Final

from anyio import CancelScope, CapacityLimiter
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from usagepipe.local.clickhouse.body import Body, whole_body
from usagepipe.local.clickhouse.coding import Encoder
from usagepipe.local.clickhouse.engine import Answer, Connection, Engine, Written
from usagepipe.local.clickhouse.exceptions import Code, http_status, refusal
from usagepipe.local.clickhouse.requests import Account, Call, read_call, read_form
from usagepipe.local.clickhouse.statement import Statement
from usagepipe.schemas.errors import ClickHouseError

APPEND_BYTES: Final = 1 << 20  # of an INSERT's data, in one call of the engine
GATHERED_BYTES: Final = 1 << 20  # a server's own `buffer_size`
MEMORY_ANSWER_BYTES: Final = 16 << 20  # of an answer that is sent when it is complete; then disk
# Each running INSERT uses threads of the engine. Further ones wait, as on a server with a limit.
MAX_INSERTS: Final = 64
_OWN_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class ClickHouseFront:
    """The ASGI application. The caller closes `engine`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inserting = CapacityLimiter(MAX_INSERTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        try:
            response = await self._answer(request)
        except ClickHouseError as error:
            response = self._refusal(error)
        except ClientDisconnect:
            return  # in the middle of a body: `_insert` has cancelled the statement
        response.headers["X-ClickHouse-Server-Display-Name"] = "usagepipe local"
        response.headers["X-ClickHouse-Query-Id"] = query_id
        response.headers["X-ClickHouse-Timezone"] = self._engine.timezone
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        _check_origin(request)
        if request.url.path in {"/ping", "/replicas_status"}:
            return PlainTextResponse("Ok.\n")
        if request.url.path != "/":
            return PlainTextResponse(f"There is no handle {request.url.path}\n", 404)
        if request.method in {"GET", "HEAD"} and "query" not in request.query_params:
            return PlainTextResponse("Ok.\n")
        Account().check(request)
        return await self._statement(request)

    async def _statement(self, request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        fields: dict[str, str] = {}
        parts: AsyncIterator[bytes] | None = request.stream()
        if content_type.startswith("multipart/form-data"):
            fields, parts = read_form(content_type, await whole_body(request.stream())), None
        call = read_call(request, fields)
        body = Body(call.query, parts, request.headers.get("content-encoding", ""))
        statement = await body.statement()
        if statement.data_start is not None:
            async with self._inserting:
                return await self._insert(call, statement, body)
        return await self._query(call, statement)

    async def _insert(self, call: Call, statement: Statement, body: Body) -> Response:
        connection = await run_in_threadpool(self._engine.connect, call.scope)
        try:
            await run_in_threadpool(connection.insert, statement)
            async for part in body.data(APPEND_BYTES):
                await run_in_threadpool(connection.append, part)
            written = await run_in_threadpool(connection.finish)
        finally:
            await _close(connection)
        return Response(headers=_summary(written), media_type="text/plain; charset=UTF-8")

    async def _query(self, call: Call, statement: Statement) -> Response:
        answer_format = statement.format or call.answer_format
        connection, answer = await run_in_threadpool(self._begin, call, statement, answer_format)
        tag = secrets.token_hex(8)
        headers = _summary(answer.written) | {
            "X-ClickHouse-Format": answer_format,
            "X-ClickHouse-Exception-Tag": tag,
        }
        if call.answer_coding:
            headers["Content-Encoding"] = call.answer_coding
        encoder, media_type = Encoder(call.answer_coding), _media_type(answer_format)
        if connection is None:
            content = encoder.encode(b"".join(answer.parts)) + encoder.finish()
            return Response(content, 200, headers, media_type)
        parts = _encoded(answer.parts, connection, encoder, tag)
        return StreamingResponse(parts, 200, headers, media_type)

    def _begin(
        self, call: Call, statement: Statement, answer_format: str
    ) -> tuple[Connection | None, Answer]:
        """Run a statement and collect the start of its answer, as a server does before it sends.

        Returns the connection as well if the answer is longer. All of it runs in one thread: each
        change of threads costs as much as a third of a small query.
        """
        with ExitStack() as at_end:
            connection = self._engine.connect(call.scope)
            at_end.callback(connection.close)
            answer = connection.query(statement, answer_format)
            front = list(_up_to(GATHERED_BYTES, answer.parts))
            if sum(map(len, front)) < GATHERED_BYTES:
                return None, Answer(iter(front), answer.written)
            parts: Iterator[bytes] = chain(front, answer.parts)
            if call.whole:
                parts = _spooled(parts)
            at_end.pop_all()  # `_encoded` closes it after the last part
            return connection, Answer(parts, answer.written)

    def _refusal(self, error: ClickHouseError) -> Response:
        text = error.text
        if "(version " not in text[-60:]:
            text += f" (version {self._engine.version})"
        return PlainTextResponse(
            text + "\n", http_status(error), {"X-ClickHouse-Exception-Code": str(error.code)}
        )


def _check_origin(request: Request) -> None:
    """Refuse requests of web pages: the account has no password and can read files."""
    headers = request.headers
    host = headers.get("host", "").rsplit(":", 1)[0]
    # <img src=…> sends no Origin, but its query can read a file and send it elsewhere: url() takes
    # a subquery. "none" is an address that a person typed.
    from_page = "origin" in headers or headers.get("sec-fetch-site", "none") != "none"
    if host not in _OWN_NAMES or from_page:
        raise refusal(
            Code.ACCESS_DENIED, "This local server answers programs of this machine, not web pages."
        )


def _summary(written: Written) -> dict[str, str]:
    numbers = {"written_rows": str(written.rows), "written_bytes": str(written.bytes)}
    return {"X-ClickHouse-Summary": json.dumps(numbers)}


def _media_type(answer_format: str) -> str:
    if answer_format.startswith("JSON"):
        return "application/json; charset=UTF-8"
    if answer_format.startswith("CSV"):
        return "text/csv; charset=UTF-8"
    if answer_format.startswith(("TabSeparated", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    return "application/octet-stream"


async def _encoded(
    parts: Iterator[bytes], connection: Connection, encoder: Encoder, tag: str
) -> AsyncIterator[bytes]:
    """The parts of the body. A late error becomes the end of the body, between marks with `tag`."""
    try:
        try:
            async for part in iterate_in_threadpool(parts):
                if encoded := encoder.encode(part):
                    yield encoded
        except ClickHouseError as error:
            text = error.text.encode()
            mark = f"__exception__\r\n{tag}\r\n".encode()
            end = f"\n{len(text)} {tag}\r\n__exception__\r\n".encode()
            yield encoder.encode(mark + text + end)
        yield encoder.finish()
    finally:
        await _close(connection)


async def _close(connection: Connection) -> None:
    with CancelScope(shield=True):  # also when the client has gone
        await run_in_threadpool(connection.close)


def _up_to(size: int, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The first parts, until they have `size` bytes or there are no more."""
    while size > 0 and (part := next(parts, None)) is not None:
        size -= len(part)
        yield part


def _spooled(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Compute all parts first, then yield them."""
    spool = tempfile.SpooledTemporaryFile(max_size=MEMORY_ANSWER_BYTES)  # noqa: SIM115
    for part in parts:
        spool.write(part)
    spool.seek(0)
    return _read_parts(spool)


def _read_parts(spool: "tempfile.SpooledTemporaryFile[bytes]") -> Iterator[bytes]:
    with spool:
        while part := spool.read(APPEND_BYTES):
            yield part
