"""How the worker's process handles memory."""

import subprocess
import sys

import pytest

# A thread gets a pool at its first allocation of its own; `malloc_info` lists them all.
PROGRAM = """
import ctypes, threading
from usagepipe.consumer.program import set_up_memory

libc = ctypes.CDLL(None)
if not hasattr(libc, "mallopt"):
    raise SystemExit(77)
libc.malloc.restype = ctypes.c_void_p
set_up_memory()
barrier = threading.Barrier(9)


def allocate():
    libc.malloc(100_000)
    barrier.wait()


threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
barrier.wait()
libc.fdopen.restype = ctypes.c_void_p
stream = libc.fdopen(1, b"w")
libc.malloc_info(0, ctypes.c_void_p(stream))
libc.fflush(ctypes.c_void_p(stream))
"""


def test_threads_share_two_pools_of_memory() -> None:
    """However many threads allocate, what they free is kept in two pools at most."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    if ended.returncode == 77:
        pytest.skip("this C library has no arenas")

    assert 0 == ended.returncode, ended.stderr
    assert 1 <= ended.stdout.count("<heap nr=") <= 2
