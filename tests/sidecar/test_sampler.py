import logging
import threading

import pytest

from hub.sidecar.sampler import Sampler


def test_a_sample_is_there_once_it_says_so() -> None:
    sampled = threading.Event()
    sampler = Sampler(lambda: {"cpu_percent": 1.0}, interval_s=0.01)
    assert sampler.fresh() is None
    sampler.start(sampled.set)
    assert sampled.wait(30)
    assert sampler.fresh() == {"cpu_percent": 1.0}
    sampler.stop()


def test_a_reading_that_fails_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
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


def test_hanging_collector_blocks_no_other() -> None:
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
