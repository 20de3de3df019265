"""The models that the demo's gateway serves, and what they cost.

Prices are examples. One model has none, so that the demo shows what an unknown cost looks like:
null, never 0.
"""

from dataclasses import dataclass
from decimal import Decimal

PRICE_VERSION = "demo-1"
AUTO = "auto"  # what callers may ask for instead of a model: the gateway chooses


@dataclass(frozen=True, slots=True)
class Model:
    """A model. Prices are US dollars for one token; None: unknown."""

    name: str
    provider: str
    prompt_price: Decimal | None = None
    completion_price: Decimal | None = None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
        """The exact cost of a request in US dollars; None where no price is known."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        return self.prompt_price * prompt_tokens + self.completion_price * completion_tokens


# The most asked-for first: popularity falls with the rank.
MODELS = (
    Model("gpt-5-mini", "openai", Decimal("0.00000025"), Decimal("0.000002")),
    Model("claude-sonnet-4-5", "anthropic", Decimal("0.000003"), Decimal("0.000015")),
    Model("gemini-2.5-flash", "google", Decimal("0.0000003"), Decimal("0.0000025")),
    Model("gpt-5", "openai", Decimal("0.00000125"), Decimal("0.00001")),
    Model("qwen3-32b", "self-hosted"),
    Model("mistral-large", "mistral", Decimal("0.000002"), Decimal("0.000006")),
    Model("claude-haiku-4-5", "anthropic", Decimal("0.000001"), Decimal("0.000005")),
    Model("deepseek-chat", "deepseek", Decimal("0.00000027"), Decimal("0.0000011")),
)
MODEL_BY_NAME = {model.name: model for model in MODELS}
