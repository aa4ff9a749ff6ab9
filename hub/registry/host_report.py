"""A host's last report, as the registry stores it."""

from collections.abc import Callable
from typing import Protocol

from hub.base.timestamps import to_timestamp
from hub.registry.history.versioned import Versioned
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.resources_pb2 import HostResources


class UnreadReport(Protocol):
    """A report that is not a message yet."""

    def read(self) -> ReportResourcesRequest:
        """The report as a message."""
        ...


Report = ReportResourcesRequest | UnreadReport


class ResourcesRecord:
    """A report with the hub's receipt time, at a revision.

    Reports arrive a thousand times more often than they are read, so a report is stored
    as received, and converted on the first read.
    """

    __slots__ = ("_report", "_versioned", "agent_id", "received_ms", "revision")

    def __init__(self, agent_id: str, report: Report, revision: int, received_ms: int) -> None:
        self.agent_id = agent_id
        self.revision = revision
        self.received_ms = received_ms
        self._report = report
        self._versioned: Versioned[HostResources] | None = None

    @property
    def report(self) -> ReportResourcesRequest:
        """The report as received; it must not be changed."""
        if not isinstance(self._report, ReportResourcesRequest):
            self._report = self._report.read()
        return self._report

    @property
    def message(self) -> HostResources:
        """The report as HostResources; it must not be changed."""
        return self._seen().message

    def encoded(self, encode: Callable[[HostResources], bytes]) -> bytes:
        """The report as `encode` writes it; encoded once per function."""
        return self._seen().encoded(encode)

    def put_event(self, encode: Callable[[HostResources, int], bytes]) -> bytes:
        """The event of the report's arrival, as `encode` writes it; encoded once."""
        return self._seen().put_event(encode)

    def _seen(self) -> Versioned[HostResources]:
        if self._versioned is None:
            message = _host_resources(self.agent_id, self.report, self.received_ms)
            self._versioned = Versioned(message, self.revision)
        return self._versioned


_FIGURES = (
    "cpu_percent",
    "ram_used_bytes",
    "ram_total_bytes",
    "vram_used_bytes",
    "vram_total_bytes",
)


def _host_resources(
    agent_id: str, report: ReportResourcesRequest, received_ms: int
) -> HostResources:
    resources = HostResources(agent_id=agent_id, gpus=report.gpus)
    for figure in _FIGURES:
        if report.HasField(figure):
            setattr(resources, figure, getattr(report, figure))
    resources.reported_at.CopyFrom(to_timestamp(received_ms))
    if report.HasField("timestamp"):
        resources.sidecar_timestamp.CopyFrom(report.timestamp)
    return resources
