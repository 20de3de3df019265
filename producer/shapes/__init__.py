"""What providers write: one module a family, each saying where usage stands and what it means.

Only known paths are read, never text: a `usage` inside an answer's content does not count, nor do
the answers of endpoints that only count tokens. The order is the preference when an answer fits
several: typed events first, names that others use too last.
"""

from typing import Final

from usagepipe.producer.shapes.anthropic import Anthropic
from usagepipe.producer.shapes.bedrock import Converse, InvokeModel
from usagepipe.producer.shapes.cohere import Cohere
from usagepipe.producer.shapes.gemini import Gemini
from usagepipe.producer.shapes.interactions import Interactions
from usagepipe.producer.shapes.ollama import Ollama
from usagepipe.producer.shapes.openai import OpenAI, Responses
from usagepipe.producer.shapes.shape import Shape

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
