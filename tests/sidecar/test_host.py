import json
import logging
import threading

import pytest

from hub.contract.dialect.frames import parse_frame
from hub.sidecar.collectors.gpu import Gpu
from hub.sidecar.host import Host, Sampler, this_hosts_gpus
from tests.support.dialect import request_of


def test_this_host_makes_a_frame_that_the_hub_accepts() -> None:
    host = Host(this_hosts_gpus())
    frame = {"type": "resource_report", **host.read()}
    report = request_of(parse_frame(json.dumps(frame)))
    assert report.ram_total_bytes > 0
    assert 0 < report.ram_used_bytes < report.ram_total_bytes


def test_a_host_without_devices_does_not_know_its_vram() -> None:
    frame = Host(()).read()
    assert frame["vram_total_bytes"] is None
    assert "gpus" not in frame


def test_devices_of_all_vendors_are_numbered_and_added_up() -> None:
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


def test_a_sample_is_available_when_it_is_announced() -> None:
    sampled = threading.Event()
    sampler = Sampler(lambda: {"cpu_percent": 1.0}, interval_s=0.01)
    assert sampler.fresh() is None
    sampler.start(sampled.set)
    assert sampled.wait(30)
    assert sampler.fresh() == {"cpu_percent": 1.0}
    sampler.stop()


def test_a_failed_reading_is_logged_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    third = threading.Event()
    calls: list[int] = []

    def read() -> dict[str, object]:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("the driver is gone")
        third.set()
        return {"cpu_percent": 2.0}

    sampled = threading.Event()
    sampler = Sampler(read, interval_s=0.01)
    with caplog.at_level(logging.ERROR):
        sampler.start(lambda: third.is_set() and sampled.set())
        assert sampled.wait(30)
    sampler.stop()
    assert sampler.fresh() == {"cpu_percent": 2.0}
    assert "the driver is gone" in caplog.text


def test_a_hanging_collector_does_not_block_the_caller() -> None:
    hanging, release = threading.Event(), threading.Event()

    def read() -> dict[str, object]:
        hanging.set()
        release.wait(30)
        return {}

    sampler = Sampler(read, interval_s=0.01)
    sampler.start(lambda: None)
    assert hanging.wait(30)
    assert sampler.fresh() is None
    sampler.stop()
    release.set()
