"""Compresses answers and decompresses request bodies, as HTTP's content codings.

clickhouse-connect compresses each block, so a body is a sequence of lz4 or zstd frames.
"""

import zlib
from collections.abc import Callable
from typing import Final, Protocol

from usagepipe.local.clickhouse.exceptions import Code, refusal
from usagepipe.schemas.errors import ClickHouseError

# In order of preference.
ANSWER_CODINGS: Final = ("lz4", "zstd", "gzip")


class _Frame(Protocol):
    """A decompressor of one frame, as the libraries of lz4, zstd and gzip have it."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class Decoder:
    """Decompresses a body part by part."""

    def __init__(self, coding: str) -> None:
        """
        Raises:
            ClickHouseError: the coding is unknown.
        """
        self._coding = coding
        self._new_frame = _frames(coding)
        self._frame: _Frame | None = None

    def decode(self, data: bytes) -> bytes:
        """The decompressed bytes of `data`.

        Raises:
            ClickHouseError: the data have another coding.
        """
        if self._new_frame is None:
            return data
        parts = []
        try:
            while data:
                if self._frame is None:
                    self._frame = self._new_frame()
                parts.append(self._frame.decompress(data))
                if not self._frame.eof:
                    break
                data, self._frame = self._frame.unused_data or b"", None
        except Exception as error:  # each library raises its own class
            raise self._broken(str(error)) from error
        return b"".join(parts)

    def finish(self) -> None:
        """Check that the body ended with a complete frame.

        Raises:
            ClickHouseError: the body was cut off.
        """
        if self._frame is not None:
            raise self._broken("the body ends in the middle")

    def _broken(self, reason: str) -> ClickHouseError:
        return refusal(
            Code.CANNOT_DECOMPRESS, f"The body is not {self._coding} as its header says: {reason}."
        )


def _frames(coding: str) -> Callable[[], _Frame] | None:
    if coding in {"", "identity"}:
        return None
    if coding == "gzip":
        return lambda: zlib.decompressobj(wbits=31)
    if coding == "deflate":
        return lambda: zlib.decompressobj()
    if coding == "lz4":
        import lz4.frame  # type: ignore[import-untyped]

        return lz4.frame.LZ4FrameDecompressor  # type: ignore[no-any-return]
    if coding == "zstd":
        from backports import zstd

        return zstd.ZstdDecompressor
    raise refusal(Code.UNKNOWN_COMPRESSION_METHOD, f"Unknown content coding {coding!r}.")


def accepted_coding(header: str) -> str:
    """The coding of the answer by the request's Accept-Encoding; "" for none."""
    offered = {
        name.strip().lower()
        for name, _, weight in (part.partition(";") for part in header.split(","))
        if weight.replace(" ", "") not in {"q=0", "q=0.0"}
    }
    return next((coding for coding in ANSWER_CODINGS if coding in offered), "")


class Encoder:
    """Compresses an answer part by part, as one frame: clients do not read a second one."""

    def __init__(self, coding: str) -> None:
        self._head, self._compress, self._flush = _compressor(coding)

    def encode(self, part: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + self._compress(part)

    def finish(self) -> bytes:
        head, self._head = self._head, b""
        return head + self._flush()


def _compressor(coding: str) -> tuple[bytes, Callable[[bytes], bytes], Callable[[], bytes]]:
    """The head of a frame, and the functions that continue and end it.

    The levels are fast ones, because client and server share one machine.
    """
    if coding == "lz4":
        import lz4.frame

        frame = lz4.frame.LZ4FrameCompressor()
        return frame.begin(), frame.compress, frame.flush
    if coding == "zstd":
        from backports import zstd

        packer = zstd.ZstdCompressor(level=1)
        return b"", packer.compress, packer.flush
    if coding == "gzip":
        gzip = zlib.compressobj(level=1, wbits=31)
        return b"", gzip.compress, gzip.flush
    return b"", lambda part: part, lambda: b""
