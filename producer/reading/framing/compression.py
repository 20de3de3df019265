"""Unpacks compressed answers piece by piece, so that a small answer that unpacks into gigabytes
costs neither memory nor time.

gzip and deflate are in the standard library. zstd and br are read where a package for them is
there (`usagepipe[compression]`, or Python 3.14 for zstd), else the answer counts as compressed.
An answer may have been compressed more than once: `gzip, br` is gzip inside of br.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, Protocol

PIECE_BYTES: Final = 64 * 1024
# Text shrinks to a tenth, a stream of chunks that are all alike to a fiftieth: more is a bomb.
MAX_RATIO: Final = 200
# What is compressed hardly shrinks again: more, and a bomb is inside, where each of its bytes could
# stand for `MAX_RATIO` others.
MAX_OUTER_RATIO: Final = 4
GRACE_BYTES: Final = 4 * 1024 * 1024  # of output before the ratio counts
# Documents or lines before they count, one for each byte: bombs of `{},` or of line feeds unpack
# into little, and are slow to read.
GRACE_STEPS: Final = 10_000
MAX_MEMBERS: Final = 10_000  # gzip members or zstd frames: a server may flush one a chunk
MAX_CODINGS: Final = 3  # of one answer; nobody has a use for two
ZSTD_WINDOW_LOG: Final = 23  # 8 MiB: as much as RFC 9659 allows in HTTP


class TooMuch(Exception):
    """It unpacks into more than any honest answer."""


class Decoder(Protocol):
    """One content coding. Raises ValueError where the bytes are none of it."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks into, in pieces of at most `PIECE_BYTES`."""


class Unpacking:
    """The bytes of one answer on their way through a decoder, within a budget."""

    def __init__(self, decoder: Decoder, max_ratio: int) -> None:
        self._decoder = decoder
        self._max_ratio = max_ratio
        self._budget = GRACE_BYTES

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks into.

        Raises:
            ValueError: it is not what its encoding says.
            TooMuch: it unpacks into more than any honest answer.
        """
        self._budget += len(data) * self._max_ratio
        for piece in self._decoder.pieces(data):
            self._budget -= len(piece)
            if self._budget < 0:
                raise TooMuch
            yield piece


class Nested:
    """A coding inside of another one, which was applied later and comes off first."""

    def __init__(self, outer: Decoder, inner: Decoder) -> None:
        self._outer = outer
        self._inner = inner

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for piece in self._outer.pieces(data):
            yield from self._inner.pieces(piece)


def codings_of(content_encoding: str) -> list[str]:
    """The codings that a header lists, in the order in which they were applied (RFC 9110, 8.4).
    `identity` is none, and empty members of a list mean nothing (5.6.1)."""
    if not content_encoding:
        return []
    listed = (member.strip().lower() for member in content_encoding.split(","))
    return [coding for coding in listed if coding not in {"", "identity"}]


def unpacking_of(codings: Sequence[str]) -> Decoder | None:
    """Takes these codings off, at least one, the last first; None: that cannot be done here.

    Its `pieces` raise TooMuch for what unpacks into more than any honest answer.
    """
    if len(codings) > MAX_CODINGS:
        return None
    unpacking: Decoder | None = None
    for coding in codings:
        decoder = DECODERS.get(coding, _none)()
        if decoder is None:
            return None
        if unpacking is None:
            unpacking = Unpacking(decoder, MAX_RATIO)
        else:
            unpacking = Nested(Unpacking(decoder, MAX_OUTER_RATIO), unpacking)
    return unpacking


class _Zlib:
    """gzip, several members of it, and deflate: by its standard in zlib's frame, by habit bare."""

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
        # What follows the end of deflate is nothing, and zlib would hold it.
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
    """One frame or several."""

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


def _one_more(members: int) -> int:
    """A bomb may be made of members that hold nothing: each costs more than its bytes tell."""
    if members >= MAX_MEMBERS:
        raise TooMuch
    return members + 1


def _none() -> None:
    """The decoder of a coding that nobody here knows."""


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
