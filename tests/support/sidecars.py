"""Sidecars for tests, whose connections record how they were closed."""

from hub.service.presence import Close, Sidecar
from tests.support.fleet import NOW


class RecordingConnection:
    """A `hub.service.presence.Connection` that records its closes."""

    def __init__(self) -> None:
        self.closes: list[Close] = []

    def close(self, close: Close) -> None:
        self.closes.append(close)


def sidecar(
    agent_id: str, *, token_id: str = "token", connection: RecordingConnection | None = None
) -> Sidecar:
    return Sidecar(
        agent_id=agent_id,
        name=f"node {agent_id}",
        status="idle",
        capabilities=("ollama",),
        remote_address="10.0.0.9",
        transport="ws",
        token_id=token_id,
        connected_at_ms=NOW,
        last_seen_ms=NOW + 5,
        connection=connection or RecordingConnection(),
    )
