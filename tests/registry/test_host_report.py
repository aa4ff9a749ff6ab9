from hub.base.timestamps import to_ms
from hub.registry.host_report import ResourcesRecord
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.resources_pb2 import Gpu, HostResources

NOW = 1_800_000_000_000


def test_every_figure_of_the_report_is_copied() -> None:
    report = ReportResourcesRequest(
        cpu_percent=12.5,
        ram_used_bytes=1,
        ram_total_bytes=2,
        vram_used_bytes=3,
        vram_total_bytes=4,
        gpus=[Gpu(index=0, name="first"), Gpu(index=1, vram_used_bytes=0)],
    )
    report.timestamp.FromMilliseconds(NOW - 3_600_000)
    resources = ResourcesRecord("gpu-1", report, 9, NOW).message
    assert resources.agent_id == "gpu-1"
    assert resources.cpu_percent == 12.5
    assert [resources.ram_used_bytes, resources.ram_total_bytes] == [1, 2]
    assert [resources.vram_used_bytes, resources.vram_total_bytes] == [3, 4]
    assert list(resources.gpus) == list(report.gpus)
    assert to_ms(resources.reported_at) == NOW, "the hub's time, not the sidecar's"
    assert to_ms(resources.sidecar_timestamp) == NOW - 3_600_000


def test_the_report_and_the_resources_have_the_same_figures() -> None:
    reported = {field.name for field in ReportResourcesRequest.DESCRIPTOR.fields}
    kept = {field.name for field in HostResources.DESCRIPTOR.fields}
    assert reported - {"timestamp"} == kept - {"reported_at", "sidecar_timestamp"}


def test_an_absent_figure_stays_absent_and_a_zero_stays_zero() -> None:
    report = ReportResourcesRequest(vram_used_bytes=0)
    resources = ResourcesRecord("gpu-1", report, 9, NOW).message
    assert resources.HasField("vram_used_bytes")
    assert not resources.HasField("vram_total_bytes")
    assert not resources.HasField("cpu_percent")
    assert not resources.HasField("sidecar_timestamp")


def test_the_agent_named_inside_the_report_is_ignored() -> None:
    report = ReportResourcesRequest(agent_id="somebody else")
    assert ResourcesRecord("gpu-1", report, 9, NOW).message.agent_id == "gpu-1"


def test_the_message_is_made_and_encoded_once() -> None:
    record = ResourcesRecord("gpu-1", ReportResourcesRequest(), 9, NOW)
    calls = 0

    def encode(resources: HostResources) -> bytes:
        nonlocal calls
        calls += 1
        return resources.SerializeToString()

    assert record.encoded(encode) is record.encoded(encode)
    assert calls == 1
    assert record.message is record.message


class Unread:
    def __init__(self) -> None:
        self.reads = 0

    def read(self) -> ReportResourcesRequest:
        self.reads += 1
        return ReportResourcesRequest(cpu_percent=7)


def test_a_report_that_is_no_message_yet_is_read_once_and_only_if_asked_for() -> None:
    unread = Unread()
    record = ResourcesRecord("gpu-1", unread, 9, NOW)
    assert unread.reads == 0
    assert record.message.cpu_percent == 7
    assert record.report is record.report
    assert record.report.cpu_percent == 7
    assert unread.reads == 1
