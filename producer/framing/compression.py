"""Unpacks compressed answers piece by piece, so that a small answer that unpacks into gigabytes
costs neither memory nor time.

gzip and deflate are in the standard library. zstd and br are read where a package for them is
there (`usagepipe[compression]`, or Python 3.14 for zstd), else the answer counts as compressed.
"""

import zlib
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, Final, Protocol

PIECE_BYTES: Final = 64 * 1024
# Text shrinks to a tenth, a stream of chunks that are all alike to a fiftieth: more is a bomb.
MAX_RATIO: Final = 200
GRACE_BYTES: Final = 4 * 1024 * 1024  # of output before the ratio counts
ZSTD_WINDOW_LOG: Final = 23  # 8 MiB: as much as RFC 9659 allows in HTTP


class TooMuch(Exception):
    """It unpacks into more than any honest answer."""


class Decoder(Protocol):
    """One content coding. Raises ValueError where the bytes are none of it."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks into, in pieces of at most `PIECE_BYTES`."""


class Unpacking:
    """The bytes of one answer on their way through a decoder, within a budget."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._budget = GRACE_BYTES

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks into.

        Raises:
            ValueError: it is not what its encoding says.
            TooMuch: it unpacks into more than any honest answer.
        """
        self._budget += len(data) * MAX_RATIO
        for piece in self._decoder.pieces(data):
            self._budget -= len(piece)
            if self._budget < 0:
                raise TooMuch
            yield piece


def unpacking_of(content_encoding: str) -> Unpacking | None:
    """How answers with this header are unpacked; None: they cannot be."""
    make = DECODERS.get(content_encoding.strip().lower())
    decoder = make() if make is not None else None
    return Unpacking(decoder) if decoder is not None else None


class _Zlib:
    """gzip, several members of it, and deflate: by its standard in zlib's frame, by habit bare."""

    def __init__(self, gzip: bool) -> None:
        self._gzip = gzip
        self._head = b""
        self._stream: Any = zlib.decompressobj(wbits=31) if gzip else None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data, self._head = self._head + data, b""
            if len(data) < 2:
                self._head = data
                return
            framed = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._stream = zlib.decompressobj(wbits=15 if framed else -15)
        more = True
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
            more = bool(data) or len(piece) == PIECE_BYTES


class _Zstd:
    """One frame or several."""

    def __init__(self, zstd: Any) -> None:
        self._zstd = zstd
        self._stream = self._fresh()

    def _fresh(self) -> Any:
        limit = {self._zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        return self._zstd.ZstdDecompressor(options=limit)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        more = bool(data)
        while more:
            if self._stream.eof:
                self._stream = self._fresh()
            try:
                piece = self._stream.decompress(data, PIECE_BYTES)
            except self._zstd.ZstdError as error:
                raise ValueError(str(error)) from error
            data = self._stream.unused_data if self._stream.eof else b""
            if piece:
                yield piece
            more = bool(data) or not (self._stream.eof or self._stream.needs_input)


class _Brotli:
    """Needs brotli 1.2: before that, its output could not be bounded."""

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
