"""The first bytes of a request's body, as the application reads them, and the model they name.

Only `model` (or `agent`) and `stream` at the top are read. If long messages come before them, the
model is unknown; then the path may name it, or a stamp has to.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

from pydantic_core import from_json

PREFIX_BYTES = 64 * 1024  # kept until the request ends: 64 MiB for a thousand requests

# Gemini's …/models/NAME:generateContent, Bedrock's /model/NAME/converse, Azure's /deployments/NAME/
_MODEL_IN_PATH = re.compile(r"/(?:models/([^/]+):\w+$|model/([^/]+)/|deployments/([^/]+)/)")

# Endpoints that count or split tokens, by the last part of their path: OpenAI's, Anthropic's,
# Gemini's and Vertex', Bedrock's, Cohere's, xAI's, vLLM's, llama.cpp's, Kimi's, Z.ai's, LiteLLM's.
_COUNTING = {"input_tokens", "count_tokens", "count-tokens", "counttokens", "computetokens"}
_COUNTING |= {"tokenize", "detokenize", "tokenize-text", "chat_tokenize", "tokenizer"}
_COUNTING |= {"estimate-token-count", "token_counter"}
_NO_MODEL = frozenset(_COUNTING | {"cachedcontents"})  # Gemini's caches: no model answers


class Requested(NamedTuple):
    """What a request asked for, if it could be read."""

    model: str = ""
    stream: bool = False


class BodyPrefix:
    """The first bytes of a body: `note` each piece as it passes, `read` at the end."""

    def __init__(self, content_type: str) -> None:
        self.kept = bytearray()
        self._room = PREFIX_BYTES if "json" in content_type.lower() else 0

    def note(self, piece: bytes | memoryview) -> None:
        if piece and self._room > 0:
            kept = piece[: self._room]
            self._room -= len(kept)
            self.kept += kept

    def read(self) -> Requested:
        """What the body asked for; nothing if it is not a JSON object. Never raises."""
        if not self.kept:
            return Requested()
        try:
            # The body may be cut: the complete values before the cut are read.
            found = from_json(self.kept, allow_partial=True, cache_strings="none")
        except ValueError:
            return Requested()
        if not isinstance(found, dict):
            return Requested()
        model = found.get("model") or found.get("agent")  # Gemini's interactions name either
        return Requested(model if isinstance(model, str) else "", found.get("stream") is True)


def model_in_path(path: str) -> str:
    """The model in a provider's URL, or ""."""
    match = _MODEL_IN_PATH.search(path)
    return unquote(next(filter(None, match.groups()))) if match else ""


def asks_no_model(path: str) -> bool:
    """Whether a provider's URL only counts tokens or manages a cache: no model answers there."""
    path = path.lower()
    if "token" not in path and "cachedcontents" not in path:
        return False  # most paths: each of the names contains one of these
    last = path.rstrip("/").rpartition("/")[2]
    return not _NO_MODEL.isdisjoint(last.split(":"))  # …/models/NAME:countTokens
