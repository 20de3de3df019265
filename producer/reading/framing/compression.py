"""Decompresses answers piece by piece. A bomb, a small answer that unpacks into gigabytes, costs
neither memory nor time.

gzip and deflate are in the standard library. zstd and br need a package (`usagepipe[compression]`;
Python 3.14 has zstd); without it the answer counts as `compressed`. An answer may be compressed
more than once: `gzip, br` is gzip inside br.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, Protocol

from usagepipe.schemas.errors import TooLargeError

PIECE_BYTES: Final = 64 * 1024
# Text shrinks to a tenth, a stream of similar chunks to a fiftieth. Beyond this it is a bomb.
MAX_RATIO: Final = 200
# Compressed data hardly shrinks again. Beyond this there is a bomb inside, of which each byte could
# unpack into `MAX_RATIO` others.
MAX_OUTER_RATIO: Final = 4
GRACE_BYTES: Final = 4 * 1024 * 1024  # of output, before the ratio counts
# Documents or lines that are free; after these, one is allowed for each byte. Bombs of `{},` or of
# line feeds unpack into little, but are slow to read.
GRACE_STEPS: Final = 10_000
MAX_MEMBERS: Final = 10_000  # gzip members or zstd frames: a server may flush one per chunk
MAX_CODINGS: Final = 3  # of one answer; even two are unusual
ZSTD_WINDOW_LOG: Final = 23  # 8 MiB: the limit of RFC 9659 for HTTP


class Decoder(Protocol):
    """One content coding. Raises ValueError if the bytes are not in this coding."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The decompressed `data`, in pieces of at most `PIECE_BYTES`."""


class Unpacking:
    """A decoder with a budget of output bytes, and the coding inside it, if there is one."""

    def __init__(self, decoder: Decoder, inner: "Unpacking | None") -> None:
        self._decoder = decoder
        self._inner = inner
        self._max_ratio = MAX_RATIO if inner is None else MAX_OUTER_RATIO
        self._budget = GRACE_BYTES

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The decompressed `data`.

        Raises:
            ValueError: the bytes are not in this coding.
            TooLargeError: the answer unpacks into more bytes than any real one.
        """
        self._budget += len(data) * self._max_ratio
        for piece in self._decoder.pieces(data):
            self._budget -= len(piece)
            if self._budget < 0:
                raise TooLargeError
            if self._inner is None:
                yield piece
            else:
                yield from self._inner.pieces(piece)


def codings_of(content_encoding: str) -> list[str]:
    """The codings in a header, in the order in which they were applied (RFC 9110, 8.4).
    `identity` and empty list members (5.6.1) are skipped."""
    if not content_encoding:
        return []
    listed = (member.strip().lower() for member in content_encoding.split(","))
    return [coding for coding in listed if coding not in {"", "identity"}]


def unpacking_of(codings: Sequence[str]) -> Unpacking | None:
    """A decoder that removes these codings (at least one), the last one first. None: one of them is
    not supported here.

    Its `pieces` raise TooLargeError for a bomb.
    """
    if len(codings) > MAX_CODINGS:
        return None
    unpacking: Unpacking | None = None
    for coding in codings:  # the last one was applied last and is removed first
        decoder = DECODERS[coding]() if coding in DECODERS else None
        if decoder is None:
            return None
        unpacking = Unpacking(decoder, unpacking)
    return unpacking


class _Zlib:
    """gzip with any number of members, and deflate, with zlib's frame (the standard) or without."""

    def __init__(self, gzip: bool) -> None:
        self._gzip = gzip
        self._head = b""
        self._stream: Any = zlib.decompressobj(wbits=31) if gzip else None
        self._members = 1

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data, self._head = self._head + data, b""
            if len(data) < 2:
                self._head = data
                return
            framed = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._stream = zlib.decompressobj(wbits=15 if framed else -15)
        # Data after the end of deflate is ignored; zlib would keep it in memory.
        more = self._gzip or not self._stream.eof
        while more:
            try:
                piece = self._stream.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise ValueError(str(error)) from error
            data = self._stream.unconsumed_tail
            if piece:
                yield piece
            if self._stream.eof:
                data = self._stream.unused_data if self._gzip else b""
                if data:
                    self._stream = zlib.decompressobj(wbits=31)
                    self._members = _one_more(self._members)
            more = bool(data) or len(piece) == PIECE_BYTES


class _Zstd:
    """zstd with any number of frames."""

    def __init__(self, zstd: Any) -> None:
        self._zstd = zstd
        self._stream = self._fresh()
        self._frames = 1

    def _fresh(self) -> Any:
        limit = {self._zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        return self._zstd.ZstdDecompressor(options=limit)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        more = bool(data)
        while more:
            if self._stream.eof:
                self._stream = self._fresh()
                self._frames = _one_more(self._frames)
            try:
                piece = self._stream.decompress(data, PIECE_BYTES)
            except self._zstd.ZstdError as error:
                raise ValueError(str(error)) from error
            data = self._stream.unused_data if self._stream.eof else b""
            if piece:
                yield piece
            more = bool(data) or not (self._stream.eof or self._stream.needs_input)


class _Brotli:
    """br. It needs brotli 1.2, the first version that can bound its output."""

    def __init__(self, brotli: Any) -> None:
        self._brotli = brotli
        self._stream = brotli.Decompressor()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        more = bool(data) and not self._stream.is_finished()
        while more:
            try:
                piece = self._stream.process(data, output_buffer_limit=PIECE_BYTES)
            except self._brotli.error as error:
                raise ValueError(str(error)) from error
            data = b""
            if piece:
                yield piece
            more = bool(piece) and not self._stream.is_finished()


def _one_more(members: int) -> int:
    """Count a member. A bomb may consist of empty members, which cost more than their bytes."""
    if members >= MAX_MEMBERS:
        raise TooLargeError
    return members + 1


def _zstd() -> Decoder | None:
    zstd = _imported("compression.zstd") or _imported("backports.zstd")
    return _Zstd(zstd) if zstd else None


def _brotli() -> Decoder | None:
    brotli = _imported("brotli")
    bounded = hasattr(getattr(brotli, "Decompressor", None), "can_accept_more_data")
    return _Brotli(brotli) if bounded else None


@cache
def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


DECODERS: Final[dict[str, Callable[[], Decoder | None]]] = {
    "gzip": lambda: _Zlib(gzip=True),
    "x-gzip": lambda: _Zlib(gzip=True),
    "deflate": lambda: _Zlib(gzip=False),
    "zstd": _zstd,
    "br": _brotli,
}
