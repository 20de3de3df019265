"""Runs the worker as a program: signals, logs, memory, exit status."""

import ctypes
import gc
import logging

import faust
import structlog

from usagepipe.consumer.app import WorkerApp
from usagepipe.schemas.logs import OncePerInterval, configure_logs

# It logs each answer that a killed server breaks off, with a traceback.
_NOISY = ("clickhouse_connect",)
# They log every service and rebalance at "info". Normal running is quiet.
_TALKATIVE = (
    "faust",
    "mode",
    "aiokafka",
    # Faust names its services' loggers after their modules.
    "usagepipe.consumer.app",
    "usagepipe.consumer.kafka.thread",
    "usagepipe.consumer.kafka.transport",
)

log = structlog.get_logger()

REPEAT_SECONDS = 30.0  # between two lines of a library about an unreachable server

# The C library gives threads memory pools of their own, eight per core, and keeps in each what was
# freed there. A batch is made in one thread and sent from another: with two pools a worker with a
# backlog holds 317 MiB, with sixteen 370, and is no slower.
ARENAS = 2
_M_ARENA_MAX = -8  # malloc.h


def run_worker(app: WorkerApp) -> int:
    """Run until SIGTERM or SIGINT, or until the worker cannot continue; return the exit status."""
    configure_logs(app.settings.log_level)
    if app.settings.log_level == "info":
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        for handler in logging.getLogger().handlers:
            handler.addFilter(OncePerInterval(REPEAT_SECONDS))
    set_up_memory()
    web = f"http://{app.settings.web_host}:{app.settings.web_port}"
    log.info("worker_started", health=f"{web}/health", metrics=f"{web}/metrics")
    worker = faust.Worker(app, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    ended = _execute(worker)
    status = app.exit_status or ended  # known only after the run
    log.info("worker_stopped", exit_status=status)
    return status


def set_up_memory() -> None:
    """Limit the C library's pools and Python's garbage collector. Call it before any thread."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has pools
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
    # Records are many and have no cycles: with Python's own thresholds the collector would walk
    # through them, and through all modules, again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _execute(worker: faust.Worker) -> int:
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
