"""Sidecars for tests, whose connections record how they were closed."""

from hub.service.presence import Close, Sidecar
from llmhub.v1.frame_pb2 import HubFrame
from tests.support.fleet import NOW


class RecordingConnection:
    """A `hub.service.presence.Connection` that records its closes and what it sends."""

    def __init__(self) -> None:
        self.closes: list[Close] = []
        self.sent: list[HubFrame] = []

    def send(self, frame: HubFrame) -> None:
        self.sent.append(frame)

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
