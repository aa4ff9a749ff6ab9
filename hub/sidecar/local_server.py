"""What a sidecar sees of one inference server on its host."""

from dataclasses import dataclass

OLLAMA = "ollama"


@dataclass(frozen=True, slots=True)
class LocalServer:
    """One server as it was last asked.

    `backend` is a word of the frames ("ollama", "llama_cpp", …), or None where
    only the hub may find out. `error` says why it is not reachable.
    """

    url: str
    backend: str | None = None
    version: str | None = None
    models: tuple[str, ...] | None = None
    error: str | None = None

    @property
    def reachable(self) -> bool:
        """Whether it answered as an inference server does."""
        return self.error is None

    def report(self) -> dict[str, object]:
        """The `endpoint_report` frame."""
        frame: dict[str, object] = {
            "type": "endpoint_report",
            "url": self.url,
            "reachable": self.reachable,
        }
        if self.backend is not None:
            frame["backend"] = self.backend
        if self.version is not None:
            frame["version"] = self.version
        if self.error is not None:
            frame["error"] = self.error
        if self.models is not None:
            frame["models"] = [{"name": name} for name in self.models]
        return frame
