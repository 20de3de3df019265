"""How the worker's process handles memory: fewer pools of the C library's, fewer walks of Python's
garbage collector. Both are set once, before the first thread.
"""

import ctypes
import gc
from typing import Final

# The C library gives threads pools of their own, eight a core, and keeps in each what was freed
# there. A batch is made in one thread and sent from another: with two pools a worker under a
# backlog holds 317 MiB, with sixteen 370, and is no slower.
ARENAS: Final = 2
_M_ARENA_MAX: Final = -8  # malloc.h


def settle() -> None:
    """Call it before threads are started; a pool that is there stays."""
    _limit_arenas()
    _rest_from_collecting()


def _limit_arenas() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's own: others have no arenas
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)


def _rest_from_collecting() -> None:
    """Records are many and hold no cycles: with Python's own thresholds the collector would walk
    through them, and through all modules, again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
