"""Claude's `usage.iterations`: the usage of each run of a model within one message.

- `message`: a run of the requested model. The message's totals are the sum of these runs.
- `compaction`: a run of the same model that shortened the conversation; not in the totals.
- `fallback_message`: the run of the model that answered after others declined. Then the totals
  describe this run alone, and the `message` runs are those that declined.
- `advisor_message`: a run of another model that gave advice; not in the totals.

Other models have other prices, and an event has one model, so the tokens of other models are
skipped.
"""

from typing import Any, Final

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields, items_of

CLASSES: Final = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)
FALLBACK: Final = "fallback_message"
SETTLED: Final = "settled by iterations"  # not a name that providers use


def settled_by_iterations(usage: Fields) -> Fields:
    """`usage` with totals from its iterations, class by class.

    Only the compactions are kept in `iterations`, to be added to the totals. So a later event
    without iterations can replace the totals.
    """
    runs = _of_the_answering_model(items_of(usage, "iterations"))
    compactions = [run for run in runs if run.get("type") == "compaction"]
    served = [run for run in runs if run.get("type") != "compaction"]
    if not any(Counts(run).first(name) for run in served for name in CLASSES):
        served = []  # none, or a placeholder of zeros
    totals: dict[str, Any] = {}
    for name in CLASSES:
        if values := _values(served, name):
            totals[name] = _sum(values)
        elif _values(compactions, name):
            totals[name] = usage.get(name) or 0
    return {**usage, **totals, "iterations": compactions, SETTLED: frozenset(totals)}


def settles(usage: Fields, name: str) -> bool:
    """Whether the iterations of this event give the number of tokens of a class."""
    settled = usage.get(SETTLED)
    return isinstance(settled, frozenset) and name in settled  # an answer may contain the name too


def model_of_fallback(usage: Fields) -> str:
    """The model that answered after others declined, or ""."""
    runs = reversed(items_of(usage, "iterations"))
    models = (run.get("model") for run in runs if run.get("type") == FALLBACK)
    return next((model for model in models if isinstance(model, str)), "")


def _of_the_answering_model(runs: list[Fields]) -> list[Fields]:
    if all(run.get("type") != FALLBACK for run in runs):
        return [run for run in runs if run.get("type") in (None, "message", "compaction")]
    model = model_of_fallback({"iterations": runs})
    return [run for run in runs if _is_of(run, model)]


def _is_of(run: Fields, model: str) -> bool:
    """Whether a run belongs to the fallback model. A `message` without a model was declined."""
    kind = run.get("type")
    if kind == "message":
        return run.get("model") == model
    return kind == FALLBACK or (kind == "compaction" and run.get("model") in (None, model))


def _values(runs: list[Fields], name: str) -> list[Any]:
    return [run[name] for run in runs if run.get(name) is not None]


def _sum(values: list[Any]) -> Any:
    """The sum, or the first invalid value, which is reported where counts are read."""
    counts, total = Counts({}), 0
    for value in values:
        total += counts.count(value)
        if not counts.sound:
            return value
    return total
