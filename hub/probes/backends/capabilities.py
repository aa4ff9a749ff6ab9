"""Capabilities of one model, as far as a backend reports them: present, absent, unknown.

The words are Ollama's ("completion", "tools", "vision", "embedding", "thinking",
"insert"), and also "audio", "rerank" and "classification". A backend's own word with
the same meaning is translated, so that one filter works for every backend.
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
    """Collects what a backend says about one model's capabilities."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._known: dict[str, bool] = {}
        for word in words:
            self.add(word, is_there=True)

    def add(self, word: str, *, is_there: bool | None) -> None:
        """Adds a capability; None means unknown. If two statements disagree, it is present."""
        if word and is_there is not None:
            word = _SAME.get(word, word)
            self._known[word] = is_there or self._known.get(word, False)

    @property
    def present(self) -> list[str]:
        """What the model can do, in the order in which it was added."""
        return _cut(word for word, is_there in self._known.items() if is_there)

    @property
    def absent(self) -> list[str]:
        """What the backend says the model cannot do."""
        return _cut(word for word, is_there in self._known.items() if not is_there)

    def write(self, model: Model) -> None:
        """Writes the known capabilities into a model."""
        model.capabilities[:] = self.present
        model.absent_capabilities[:] = self.absent


def _cut(words: Iterable[str]) -> list[str]:
    return list(words)[: json_fields.MAX_CAPABILITIES]
