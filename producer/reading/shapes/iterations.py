"""Claude's `usage.iterations`: the usage of each run of a model within one message.

- `message`: a run of the requested model. The message's totals are the sum of these runs.
- `compaction`: a run of the same model that shortened the conversation; not in the totals.
- `fallback_message`: the run of the model that answered after others declined. Then the totals
  describe this run alone, and the `message` runs are those that declined.
- `advisor_message`: a run of another model that gave advice; not in the totals.

A run of another model is a part of its own, because it has other prices. The tokens of models that
declined are skipped.
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
ADVISOR: Final = "advisor_message"
OWN_RUNS: Final = (None, "message", "compaction", FALLBACK)  # those of one model after the other
# Not names that providers use.
SETTLED: Final = "settled by iterations"
OTHERS: Final = "runs of other models"


def settled_by_iterations(usage: Fields) -> Fields:
    """`usage` with totals from its iterations, class by class.

    Only the compactions are kept in `iterations`, to be added to the totals. So a later event
    without iterations can replace the totals. The runs of other models get a place of their own.
    """
    iterations = items_of(usage, "iterations")
    runs = _of_the_answering_model(iterations)
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
    others = [run for run in iterations if _is_of_another_model(run)]
    settled = {"iterations": compactions, OTHERS: others, SETTLED: frozenset(totals)}
    return {**usage, **totals, **settled}


def settles(usage: Fields, name: str) -> bool:
    """Whether the iterations of this event give the number of tokens of a class."""
    settled = usage.get(SETTLED)
    return isinstance(settled, frozenset) and name in settled  # an answer may contain the name too


def model_of_fallback(usage: Fields) -> str:
    """The model that answered after others declined, or ""."""
    runs = reversed(items_of(usage, "iterations"))
    models = (run.get("model") for run in runs if run.get("type") == FALLBACK)
    return next((model for model in models if isinstance(model, str)), "")


def runs_of_others(usage: Fields) -> list[tuple[str, Fields]]:
    """The runs of other models, with their models. A run that names none gets its type as a name:
    it has no price, but its tokens count."""
    return [(_text(run, "model") or _text(run, "type"), run) for run in items_of(usage, OTHERS)]


def _is_of_another_model(run: Fields) -> bool:
    """Whether a run is an advisor's, or of a type that is not known yet and names a model."""
    kind = run.get("type")
    return kind == ADVISOR or (kind not in OWN_RUNS and bool(_text(run, "model")))


def _text(run: Fields, name: str) -> str:
    value = run.get(name)
    return value if isinstance(value, str) else ""


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
