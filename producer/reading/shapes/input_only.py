"""Answers in which a model has written nothing: embeddings, ranks, scores. A total is input there.

An answer with text may tell a total alone too, and then nobody knows what was input: so it takes
a sign in the answer.
"""

from typing import Final

from usagepipe.producer.reading.shapes.shape import Fields, Paths, items_of

CLASSES: Final = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")
OBJECTS: Final = ("list", "rerank")  # what the answer calls itself
LISTS: Final = ("results", "data", "rankings")
SCORES: Final = frozenset({"relevance_score", "score", "logit"})
VECTORS: Final = ("embeddings", "embedding")
PATHS: Final[Paths] = {
    "object": True,
    **{name: dict.fromkeys(SCORES, True) for name in LISTS},
    **{name: {} for name in VECTORS},  # only whether they are there
}


def is_total_alone(usage: Fields) -> bool:
    """Whether a usage object tells a total and no class of tokens."""
    return not any(map(usage.get, CLASSES)) and bool(usage.get("total_tokens"))


def outputs_nothing(answer: Fields) -> bool:
    """Whether an answer shows that it is one of ranks or vectors."""
    if answer.get("object") in OBJECTS:
        return True
    if any(isinstance(answer.get(name), (list, dict)) for name in VECTORS):
        return True
    return any(not SCORES.isdisjoint(item) for name in LISTS for item in items_of(answer, name)[:1])
