import pytest

from hub.contract.errors import ValidationFailed
from hub.contract.rpcs import FRAMES
from hub.transports.session.sidecar_frames import parse_binary_frame
from llmhub.v1.frame_pb2 import PingRequest, ReportResourcesRequest, SidecarFrame


def test_a_binary_frame_has_the_kind_of_its_member() -> None:
    report = ReportResourcesRequest(cpu_percent=3)
    frame = parse_binary_frame(SidecarFrame(resource_report=report).SerializeToString())
    assert frame.kind is FRAMES["resource_report"]
    assert frame.decode().message == report
    assert frame.decode().violations == ()
    ping = parse_binary_frame(SidecarFrame(ping=PingRequest()).SerializeToString())
    assert ping.kind is FRAMES["ping"]


@pytest.mark.parametrize(
    ("encoded", "field", "error"), [(b"\xff", "message", "invalid"), (b"", "frame", "required")]
)
def test_what_is_no_frame_is_a_violation(encoded: bytes, field: str, error: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse_binary_frame(encoded)
    assert [(each.field, each.error) for each in refused.value.violations] == [(field, error)]
