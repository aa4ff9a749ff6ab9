"""When models leave their server's memory, by the time that the server announced. Pure.

A server says until when it keeps a model (`Model.expires_at`). If that time comes before
the next probe, the model is only on disk and no longer loaded. A time that had already
passed at the probe means nothing: the server has just shown the model as loaded, because
a request still uses it or because its clock is slow.
"""

import heapq
from collections.abc import Iterator

from hub.base.timestamps import to_ms
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, Endpoint, Model


class Unloads:
    """The next unload of each endpoint; times are epoch milliseconds."""

    def __init__(self) -> None:
        self._next_ms: dict[str, int] = {}
        # May hold outdated items until their time comes.
        self._heap: list[tuple[int, str]] = []

    def change(self, id_: str, endpoint: Endpoint | None) -> None:
        """Records that an endpoint was added, changed or removed."""
        ends = [ends_ms for _, ends_ms in _ends(endpoint)] if endpoint is not None else []
        next_ms = min(ends, default=None)
        if next_ms is None:
            self._next_ms.pop(id_, None)
        elif self._next_ms.get(id_) != next_ms:
            self._next_ms[id_] = next_ms
            heapq.heappush(self._heap, (next_ms, id_))
            if len(self._heap) > 2 * len(self._next_ms) + 64:
                self._heap = [(at_ms, each) for each, at_ms in self._next_ms.items()]
                heapq.heapify(self._heap)

    def next_ms(self) -> int | None:
        """When the next model leaves memory, or None."""
        while self._heap and self._next_ms.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_ms: int) -> str | None:
        """The id of an endpoint with a model whose time has come, or None."""
        next_ms = self.next_ms()
        if next_ms is None or next_ms > now_ms:
            return None
        _, id_ = heapq.heappop(self._heap)
        del self._next_ms[id_]
        return id_


def unload(endpoint: Endpoint, now_ms: int) -> bool:
    """Marks the models whose time has come as being only on disk.

    Returns whether there are any.
    """
    changed = False
    for model, ends_ms in [*_ends(endpoint)]:
        if ends_ms <= now_ms:
            changed = True
            model.state = MODEL_STATE_AVAILABLE
            model.ClearField("expires_at")
            model.ClearField("vram_bytes")
    return changed


def _ends(endpoint: Endpoint) -> Iterator[tuple[Model, int]]:
    """The loaded models that leave memory after the last probe, each with that time."""
    if not endpoint.models:
        return
    checked_ms = to_ms(endpoint.last_checked_at)
    for model in endpoint.models:
        if model.state == MODEL_STATE_LOADED and model.HasField("expires_at"):
            ends_ms = to_ms(model.expires_at)
            if ends_ms > checked_ms:
                yield model, ends_ms
