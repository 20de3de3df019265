"""The opening of a request's body: a look at its first bytes as the application reads them.

Only `model` (or `agent`) and `stream` at the top are wanted. A body whose `model` comes after more
bytes than are kept (long messages before it) tells none; then the path may, or a stamp has to.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

from pydantic_core import from_json

OPENING_BYTES = 64 * 1024  # kept for as long as the request lives, so a thousand hold 64 MiB

# Gemini's …/models/NAME:generateContent, Bedrock's /model/NAME/converse, Azure's /deployments/NAME/
_MODEL_IN_PATH = re.compile(r"/(?:models/([^/]+):\w+$|model/([^/]+)/|deployments/([^/]+)/)")

# Endpoints that count or split tokens, by the last word of their path: OpenAI's, Anthropic's,
# Gemini's and Vertex', Bedrock's, Cohere's, xAI's, vLLM's, llama.cpp's, Kimi's, Z.ai's, LiteLLM's.
_COUNTING = {"input_tokens", "count_tokens", "count-tokens", "counttokens", "computetokens"}
_COUNTING |= {"tokenize", "detokenize", "tokenize-text", "chat_tokenize", "tokenizer"}
_COUNTING |= {"estimate-token-count", "token_counter"}
_NO_MODEL = frozenset(_COUNTING | {"cachedcontents"})  # Gemini's caches are made, not asked


class Asked(NamedTuple):
    """What a request asked for, as far as it told."""

    model: str = ""
    stream: bool = False


class Opening:
    """The first bytes of a body. `note` each piece as it passes, `read` when all is over."""

    def __init__(self, content_type: str) -> None:
        self._bytes = bytearray()
        self._room = OPENING_BYTES if "json" in content_type.lower() else 0

    def note(self, piece: bytes | memoryview) -> None:
        if piece and self._room > 0:
            kept = piece[: self._room]
            self._room -= len(kept)
            self._bytes += kept

    def read(self) -> Asked:
        """What the body asked for; nothing if it is no JSON object. Never raises."""
        if not self._bytes:
            return Asked()
        try:
            # Cut off as it may be: what stands complete before the cut is read.
            found = from_json(self._bytes, allow_partial=True, cache_strings="none")
        except ValueError:
            return Asked()
        if not isinstance(found, dict):
            return Asked()
        model = found.get("model") or found.get("agent")  # Gemini's interactions are with either
        return Asked(model if isinstance(model, str) else "", found.get("stream") is True)


def model_in_path(path: str) -> str:
    """The model that a provider's URL names, or ""."""
    match = _MODEL_IN_PATH.search(path)
    return unquote(next(filter(None, match.groups()))) if match else ""


def asks_no_model(path: str) -> bool:
    """Whether a provider's URL only counts tokens or keeps a cache: no model answers there."""
    path = path.lower()
    if "token" not in path and "cachedcontents" not in path:
        return False  # as most paths, at a glance: each name has one of these in it
    last = path.rstrip("/").rpartition("/")[2]
    return not _NO_MODEL.isdisjoint(last.split(":"))  # …/models/NAME:countTokens
