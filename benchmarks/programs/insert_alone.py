"""Inserts bodies that were prepared before, through the worker's own writer: the ceiling.

Arguments: the folder of the bodies, how many inserts at once. The database is that of
`USAGEPIPE_CLICKHOUSE`.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.schemas.settings import WorkerSettings


def main(folder: str, inserts: str) -> None:
    """Insert every body once, then wait to be killed."""
    settings = WorkerSettings.load()
    writer = Writer(settings.clickhouse_address, 600)
    writer.ping()
    bodies = [(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir())]
    with ThreadPoolExecutor(int(inserts)) as threads:
        for stored in [threads.submit(writer.insert, body, name) for name, body in bodies]:
            stored.result()
    time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:])
