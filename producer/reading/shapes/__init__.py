"""What providers write: one module a family, each saying where usage stands and what it means.

Only known paths are read, never text: a `usage` inside an answer's content does not count, nor do
the answers of endpoints that only count tokens. The order is the preference when an answer fits
several: typed events first, names that others use too last.
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
