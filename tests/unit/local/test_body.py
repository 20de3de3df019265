"""A request's body, however it is cut and packed."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lz4 import frame as lz4  # type: ignore[import-untyped]

from usagepipe.local.clickhouse.body import MAX_STATEMENT_BYTES, Body, whole_body
from usagepipe.local.clickhouse.coding import Decoder, Encoder, accepted_coding
from usagepipe.schemas.errors import ClickHouseError

DATA = b"".join(b'{"i":%d}\n' % i for i in range(200))


async def parts_of(content: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


def take_apart(query: str, content: bytes, size: int, coding: str = "") -> tuple[bytes, bytes]:
    """The statement and the data that a body is read as."""

    async def read() -> tuple[bytes, bytes]:
        body = Body(query, parts_of(content, size), coding)
        statement = await body.statement()
        return statement.sql, b"".join([part async for part in body.data(64)])

    return asyncio.run(read())


@given(size=st.integers(1, 3_000))
def test_cuts_of_the_network_do_not_show(size: int) -> None:
    """Statement and data are the same wherever the body is cut."""
    sql, data = take_apart("", b"INSERT INTO t FORMAT JSONEachRow\n" + DATA, size)

    assert (b"INSERT INTO t ", DATA) == (sql, data)


def test_statement_in_the_url_goes_before_the_body() -> None:
    """`?query=` and body are one text, as on a server."""
    sql, data = take_apart("INSERT INTO t FORMAT JSONEachRow", DATA, 100)

    assert (b"INSERT INTO t ", DATA) == (sql, data)


def test_statement_may_be_split_between_url_and_body() -> None:
    """The new line between both is no part of the data."""
    sql, data = take_apart("INSERT INTO t", b"VALUES (1)", 100)

    assert (b"INSERT INTO t\n", b" (1)") == (sql, data)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "lz4", "zstd"])
def test_body_of_several_frames_is_unpacked(coding: str, size: int) -> None:
    """clickhouse-connect compresses each block for itself: frames follow each other."""
    from backports import zstd

    pack = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "lz4": lz4.compress,
        "zstd": zstd.compress,
    }[coding]
    packed = pack(b"INSERT INTO t FORMAT JSONEachRow\n" + DATA[:100]) + pack(DATA[100:])

    _, data = take_apart("", packed, size, coding)

    assert DATA == data


@pytest.mark.parametrize("coding", ["gzip", "lz4", "zstd"])
def test_packed_body_that_is_cut_off_is_refused(coding: str) -> None:
    """Half a body is an error and never half the rows."""
    packer = Encoder(coding)
    packed = packer.encode(b"INSERT INTO t FORMAT JSONEachRow\n" + DATA) + packer.finish()

    with pytest.raises(ClickHouseError) as caught:
        take_apart("", packed[:-5], 50, coding)

    assert 271 == caught.value.code


def test_unknown_coding_is_refused() -> None:
    """A body in a coding that nobody knows has ClickHouse's error."""
    with pytest.raises(ClickHouseError) as caught:
        Decoder("snappy")

    assert 89 == caught.value.code


@pytest.mark.parametrize("coding", ["", "gzip", "lz4", "zstd"])
def test_answer_is_one_frame(coding: str) -> None:
    """Clients unpack one frame of an answer and no second."""
    packer, unpacker = Encoder(coding), Decoder(coding)
    packed = b"".join(packer.encode(part) for part in (DATA, b"", DATA)) + packer.finish()

    assert unpacker.decode(packed) == DATA + DATA
    unpacker.finish()


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("lz4,zstd,gzip,deflate", "lz4"),
        ("gzip, zstd;q=0.5", "zstd"),
        ("lz4;q=0, GZIP", "gzip"),
        ("br", ""),
        ("", ""),
    ],
)
def test_answer_coding_is_one_the_client_takes(header: str, coding: str) -> None:
    """The fastest coding of those that are offered."""
    assert coding == accepted_coding(header)


def test_endless_statement_is_refused() -> None:
    """What is no INSERT is not read without end."""
    with pytest.raises(ClickHouseError) as caught:
        take_apart("", b"SELECT '" + b"x" * MAX_STATEMENT_BYTES, 65_536)

    assert 229 == caught.value.code


def test_endless_form_is_refused() -> None:
    """Nor is a form."""
    with pytest.raises(ClickHouseError) as caught:
        asyncio.run(whole_body(parts_of(b"x" * (MAX_STATEMENT_BYTES + 1), 65_536)))

    assert 229 == caught.value.code
