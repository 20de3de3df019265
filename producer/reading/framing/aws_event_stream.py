"""AWS's binary event streams (application/vnd.amazon.eventstream), which Bedrock uses.

A message is: its length, the length of its headers and a checksum of these two (12 bytes), the
headers, the payload, a checksum of all (4 bytes). Numbers are big-endian, checksums CRC-32.
"""

import re
import struct
from base64 import b64decode
from binascii import crc32
from collections.abc import Mapping
from typing import Final

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.framing.decoding import decoded
from usagepipe.producer.reading.framing.documents import Documents
from usagepipe.producer.reading.framing.prefilter import may_matter

PRELUDE: Final = struct.Struct(">III")
CHECKSUM: Final = struct.Struct(">I")
MAX_MESSAGE_BYTES: Final = 24 * 1024 * 1024  # AWS's own bound is 16 MiB of payload
# Header, type (7: text), length and value: marks a message that is not an event of the model.
FAILURE: Final = re.compile(rb":message-type\x07\0(?:\x09exception|\x05error)")
CHUNK: Final = b'"bytes"'  # InvokeModel wraps the model's own event, in base64


def begins_message(head: bytes) -> bool:
    """Whether the bytes begin with the prelude of a message. The prelude has a checksum."""
    if len(head) < PRELUDE.size:
        return False
    _, _, checksum = PRELUDE.unpack_from(head)
    return bool(checksum == crc32(head[: PRELUDE.size - CHECKSUM.size]))


class AwsEventStream:
    """The payload of each message is a JSON document, or has one inside (`bytes`).

    Headers are skipped, because the payload has the kind of event too; only a failure is read
    there. A message over `max_bytes` is skipped too: Converse's usage is in one of a few hundred
    bytes.
    """

    streaming = True

    def __init__(self, tally: Tally, max_bytes: int) -> None:
        self._tally = tally
        self._documents = Documents(tally, max_bytes)
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._to_skip = 0
        self.malformed = False
        self.steps = 0

    def feed(self, chunk: bytes) -> None:
        if self.malformed:  # without a valid length the next message cannot be found
            return
        if self._to_skip:
            skipped = min(self._to_skip, len(chunk))
            self._to_skip -= skipped
            chunk = chunk[skipped:]
        self._held += chunk
        while len(self._held) >= PRELUDE.size and self._next_message():
            pass

    def finish(self) -> None:
        """A message that was cut is lost, because its checksum is missing."""

    def _next_message(self) -> bool:
        """Take the first message in the held bytes. False: it is not complete."""
        size, headers, checksum = PRELUDE.unpack_from(self._held)
        least = PRELUDE.size + headers + CHECKSUM.size
        known = checksum == crc32(self._held[: PRELUDE.size - CHECKSUM.size])
        if not known or not least <= size <= MAX_MESSAGE_BYTES:
            self.malformed = True
            self._held.clear()
            return False
        if size > self._max_bytes:
            self._to_skip = max(0, size - len(self._held))
        elif len(self._held) < size:
            return False
        else:
            self._read(bytes(self._held[:size]), PRELUDE.size + headers)
        del self._held[:size]
        self.steps += 1
        return True

    def _read(self, message: bytes, payload_at: int) -> None:
        end = len(message) - CHECKSUM.size
        if CHECKSUM.unpack_from(message, end)[0] != crc32(message[:end]):
            return  # damaged in transit; the next one may be valid
        if FAILURE.search(message, PRELUDE.size, payload_at):
            self._tally.fail()
        payload = message[payload_at:end]
        if CHUNK in payload:
            self._read_chunk(payload)
        elif not self._documents.can_skip(payload):
            self._documents.offer(payload)

    def _read_chunk(self, payload: bytes) -> None:
        try:
            chunk = decoded(payload)
            inner = b64decode(chunk["bytes"]) if isinstance(chunk, Mapping) else b""
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if may_matter(inner, self._tally.of_claude):
            self._documents.offer(inner)
