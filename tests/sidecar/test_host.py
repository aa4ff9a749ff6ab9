import json

from hub.contract.dialect.frames import parse_frame
from hub.sidecar.collectors.gpu import Gpu
from hub.sidecar.host import Host, this_hosts_gpus


def test_this_host_makes_a_frame_that_the_hub_accepts() -> None:
    host = Host(this_hosts_gpus())
    frame = {"type": "resource_report", **host.read()}
    decoded = parse_frame(json.dumps(frame)).decode()
    assert not decoded.violations
    assert decoded.message.ram_total_bytes > 0
    assert 0 < decoded.message.ram_used_bytes < decoded.message.ram_total_bytes


def test_a_host_without_devices_does_not_know_its_vram() -> None:
    frame = Host(()).read()
    assert frame["vram_total_bytes"] is None
    assert "gpus" not in frame


def test_devices_of_all_vendors_are_counted_through_and_added_up() -> None:
    one = Gpu(0, "A", vram_used_bytes=1, vram_total_bytes=10)
    two = Gpu(0, "B", vram_used_bytes=2, vram_total_bytes=20)
    frame = Host((lambda: [one], list, lambda: [two])).read()
    assert (frame["vram_used_bytes"], frame["vram_total_bytes"]) == (3, 30)
    assert frame["gpus"] == [
        {"index": 0, "name": "A", "vram_used_bytes": 1, "vram_total_bytes": 10},
        {"index": 1, "name": "B", "vram_used_bytes": 2, "vram_total_bytes": 20},
    ]


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    one = Gpu(0, vram_used_bytes=1, vram_total_bytes=10)
    two = Gpu(1, vram_total_bytes=20)
    frame = Host((lambda: [one, two],)).read()
    assert (frame["vram_used_bytes"], frame["vram_total_bytes"]) == (None, 30)
