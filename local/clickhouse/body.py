"""A request's body as it arrives: first the statement, then an INSERT's data in even parts."""

from collections.abc import AsyncIterator
from typing import Final

from usagepipe.local.clickhouse.coding import Decoder
from usagepipe.local.clickhouse.exceptions import Code, refusal
from usagepipe.local.clickhouse.statement import Statement, read_statement
from usagepipe.schemas.errors import ClickHouseError

MAX_STATEMENT_BYTES: Final = 4 << 20  # a server's default is 256 KiB, and may be raised


class Body:
    """Statement and data of one request: the URL's `query`, a new line, and the body."""

    def __init__(self, query: str, parts: AsyncIterator[bytes] | None, coding: str) -> None:
        """`parts` None: all is in `query`."""
        self._buffer = bytearray(query.encode("utf-8", "surrogateescape"))
        if query and parts is not None:
            self._buffer += b"\n"
        self._parts = parts
        self._decoder = Decoder(coding)

    async def _more(self) -> bool:
        """Take in what arrives next; False at the end."""
        if self._parts is None:
            return False
        async for part in self._parts:
            self._buffer += self._decoder.decode(part)
            return True
        self._parts = None
        self._decoder.finish()
        return False

    async def statement(self) -> Statement:
        """The statement; data of an INSERT stay for `data`.

        Raises:
            ClickHouseError: the statement is missing or too long.
        """
        more = True
        while more:
            more = await self._more()
            too_long = len(self._buffer) > MAX_STATEMENT_BYTES
            front = bytes(self._buffer[:MAX_STATEMENT_BYTES])
            if statement := read_statement(front, complete=not (more or too_long)):
                del self._buffer[: statement.data_start or 0]
                return statement
            if too_long:
                raise _too_long("statement")
        raise AssertionError("a complete body is a statement or an error")

    async def data(self, part_bytes: int) -> AsyncIterator[bytes]:
        """The data in parts of about `part_bytes`."""
        more = True
        while more:
            while more and len(self._buffer) < part_bytes:
                more = await self._more()
            if self._buffer:
                yield bytes(self._buffer)
                self._buffer.clear()


async def whole_body(parts: AsyncIterator[bytes]) -> bytes:
    """All of a body that is a form.

    Raises:
        ClickHouseError: it is too long.
    """
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > MAX_STATEMENT_BYTES:
            raise _too_long("form")
    return bytes(body)


def _too_long(name: str) -> ClickHouseError:
    return refusal(Code.QUERY_IS_TOO_LARGE, f"The {name} has over {MAX_STATEMENT_BYTES} bytes.")
