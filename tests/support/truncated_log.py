"""Truncates the log of a broker that is down, as a lost page cache does."""

import struct
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct(">qi")  # the first offset of a record batch, and its length


def truncate_log(folder: Path, topic: str, partition: int, offset: int) -> None:
    """Remove every record batch from `offset` on, which must start a record batch.

    `folder` is the broker's (`ApacheKafka`). It writes the indexes again when it starts.
    """
    log = folder / "log" / f"{topic}-{partition}"
    (segment,) = log.glob("*.log")
    data = segment.read_bytes()
    position = 0
    while position < len(data):
        first, length = _HEADER.unpack_from(data, position)
        if first >= offset:
            assert first == offset, f"{offset} is inside of a record batch"
            break
        position += _HEADER.size + length
    segment.write_bytes(data[:position])
    for other in (*log.glob("*.index"), *log.glob("*.timeindex"), *log.glob("*.snapshot")):
        other.unlink()
    (folder / "log" / ".kafka_cleanshutdown").unlink(missing_ok=True)
