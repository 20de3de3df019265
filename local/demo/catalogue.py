"""The models that the demo's gateway serves: those of the built-in price book, and one other.

That one has no price, and shows what an unknown cost looks like: null, never 0. No price depends on
the hour: a cost is computed a moment after its request was sent.
"""

from dataclasses import dataclass

AUTO = "auto"  # what callers may ask for instead of a model: the gateway chooses


@dataclass(frozen=True, slots=True)
class Model:
    """A model, and who serves it."""

    name: str
    provider: str


UNPRICED = Model("qwen3-32b", "self-hosted")
# The most asked-for first: popularity falls with the rank.
MODELS = (
    Model("gpt-5-mini", "openai"),
    Model("claude-sonnet-4-5", "anthropic"),
    Model("gemini-2.5-flash", "google"),
    Model("gpt-5", "openai"),
    UNPRICED,
    Model("mistral-large", "mistral"),
    Model("claude-haiku-4-5", "anthropic"),
    Model("deepseek-v3.2", "deepseek"),
)
MODEL_BY_NAME = {model.name: model for model in MODELS}
