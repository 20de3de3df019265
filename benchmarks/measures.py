"""What is measured of a part alone, beside how fast the worker drains a backlog."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from benchmarks.auditing import measure_audit
from benchmarks.encoding import measure_encoding
from benchmarks.extraction import measure_extraction
from benchmarks.latency import measure_latency
from benchmarks.lookups import measure_lookups
from benchmarks.pricing import measure_pricing
from benchmarks.recording import measure_recording
from benchmarks.recovery import measure_recovery
from benchmarks.requests import measure_requests
from benchmarks.world import Plan, World

MEASURES: Final[dict[str, Callable[[World, Plan], Mapping[str, Any]]]] = {
    "encoding": lambda world, _: measure_encoding(world),
    "extraction": lambda _, __: measure_extraction(),
    "latency": lambda world, _: measure_latency(world),
    "audit": lambda world, plan: measure_audit(world, plan.events),
    "lookups": lambda world, _: measure_lookups(world),
    "pricing": lambda _, __: measure_pricing(),
    "recording": lambda world, _: measure_recording(world),
    "recovery": lambda world, plan: measure_recovery(world, plan.events),
    "requests": lambda world, plan: measure_requests(world, plan.rounds),
}
# The others ask for more room or events.
USUAL: Final = (
    "encoding",
    "extraction",
    "latency",
    "pricing",
    "recording",
    "recovery",
    "requests",
)
