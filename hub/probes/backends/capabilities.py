"""Capabilities of one model, as far as a backend reports them: present, absent, unknown.

The words are Ollama's ("completion", "tools", "vision", "embedding", "thinking",
"insert"), and "audio", "rerank" and "classification" beside them. A backend's own
word that means the same is translated, so that one filter works for every backend.
"""

from collections.abc import Iterable

from hub.probes import json_fields
from llmhub.v1.endpoint_pb2 import Model

COMPLETION = "completion"
TOOLS = "tools"
VISION = "vision"
EMBEDDING = "embedding"
THINKING = "thinking"
AUDIO = "audio"
RERANK = "rerank"
CLASSIFICATION = "classification"

_SAME = {
    "chat": COMPLETION,
    "llm": COMPLETION,
    "image": VISION,
    "embeddings": EMBEDDING,
    "reasoning": THINKING,
    "tool_use": TOOLS,
    "tool-calling": TOOLS,
    "reranking": RERANK,
}


class Capabilities:
    """Collects what a backend says of one model's capabilities."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._known: dict[str, bool] = {}
        for word in words:
            self.tell(word, is_there=True)

    def tell(self, word: str, *, is_there: bool | None) -> None:
        """Notes a capability; None says nothing. If two disagree, it is present."""
        if word and is_there is not None:
            word = _SAME.get(word, word)
            self._known[word] = is_there or self._known.get(word, False)

    @property
    def present(self) -> list[str]:
        """What the model can do, in the order of the statements."""
        return _cut(word for word, is_there in self._known.items() if is_there)

    @property
    def absent(self) -> list[str]:
        """What the backend says the model cannot do."""
        return _cut(word for word, is_there in self._known.items() if not is_there)

    def write(self, model: Model) -> None:
        """Writes what is known into a model."""
        model.capabilities[:] = self.present
        model.absent_capabilities[:] = self.absent


def _cut(words: Iterable[str]) -> list[str]:
    return list(words)[: json_fields.MAX_CAPABILITIES]
