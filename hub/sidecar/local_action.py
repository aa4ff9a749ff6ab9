"""A model action that the hub requests."""

from collections.abc import Mapping
from dataclasses import dataclass

CAPABILITY = "model-actions"
"""The capability in `identify` of a sidecar that carries out model actions."""

_MAX_TIMEOUT_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class LocalAction:
    """An action on one model; `url` is None if no such endpoint was reported."""

    action_id: str
    is_load: bool
    endpoint_id: str
    url: str | None
    model: str
    keep_alive_s: int | None
    timeout_s: float

    def __str__(self) -> str:
        return f"{'load' if self.is_load else 'unload'} {self.model} at {self.endpoint_id}"


def action_of(frame: Mapping[str, object], url: str | None) -> LocalAction | None:
    """Reads a `model_action` frame; None if it is incomplete or invalid."""
    match frame:
        case {
            "action_id": str(action_id),
            "kind": "load" | "unload" as kind,
            "endpoint_id": str(endpoint_id),
            "model": str(model),
            "timeout": int() | float() as timeout_ms,
        } if 0 < timeout_ms <= _MAX_TIMEOUT_MS:
            keep_alive_ms = frame.get("keep_alive")
            return LocalAction(
                action_id,
                kind == "load",
                endpoint_id,
                url,
                model,
                round(keep_alive_ms / 1000) if isinstance(keep_alive_ms, int | float) else None,
                timeout_ms / 1000,
            )
    return None
