"""The formats of providers: one module per family. Each says where usage is and what it means.

Only known paths are read, never text: a `usage` inside an answer's content does not count. Answers
of endpoints that only count tokens do not count either.

To add a provider's format (most are like OpenAI's and need nothing):

1. Write a subclass of `Shape` (see `shape.py`) in a module of this folder. It declares what it
   reads: `places` (names at the top that lead to usage), `paths` (all that its methods read),
   `marks` (what each event it must see contains) and `sides`. It defines `usage()`, the usage
   object of an answer, and `normal()`, its normal form. `billed` says where it reports what else it
   bills by, and `tier()` reads its service tier. A stream may need `merged()`, `ends()` or `part()`
   (then `places_of_id` too). `ollama.py` is the shortest example.
2. Put it into `SHAPES` below. Nothing else has to be registered: the extraction, the pre-filter and
   the projection take their names from there. The order is the preference if an answer fits several
   shapes: typed events first, names that others use too last.
3. Add an example to tests/unit/producer/reading/test_shapes.py, which checks that all that the
   shape reads passes the pre-filter and the projection.

Only if it names the model or a failure in a new way, extend `models.py` or `failures.py`.
"""

from typing import Final

from usagepipe.producer.reading.shapes.anthropic import Anthropic
from usagepipe.producer.reading.shapes.bedrock import Converse, InvokeModel
from usagepipe.producer.reading.shapes.cohere import Cohere
from usagepipe.producer.reading.shapes.gemini import Gemini
from usagepipe.producer.reading.shapes.interactions import Interactions
from usagepipe.producer.reading.shapes.ollama import Ollama
from usagepipe.producer.reading.shapes.openai import OpenAI, Responses
from usagepipe.producer.reading.shapes.shape import Shape

SHAPES: Final[tuple[Shape, ...]] = (
    Anthropic(),
    Responses(),
    Gemini(),
    Interactions(),
    Cohere(),
    Converse(),
    OpenAI(),
    InvokeModel(),
    Ollama(),
)

__all__ = ["SHAPES", "Shape"]
