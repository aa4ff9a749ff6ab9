import plistlib
import sys

import pytest

from hub.sidecar.collectors.apple import Apple, parse
from hub.sidecar.collectors.gpu import Gpu

WORKING_SET = 48 << 30


def test_figures_come_from_ioreg_and_metal() -> None:
    entry = {
        "model": "Apple M3 Max",
        "PerformanceStatistics": {
            "Device Utilization %": 23,
            "In use system memory": 3 << 30,
            "Alloc system memory": 9 << 30,
        },
    }
    assert parse(plistlib.dumps([entry]), WORKING_SET) == Gpu(
        0, "Apple M3 Max", None, 23.0, 3 << 30, WORKING_SET
    )


@pytest.mark.parametrize(
    "plist", [b"", b"<html>", plistlib.dumps([]), plistlib.dumps([{"PerformanceStatistics": 7}])]
)
def test_missing_statistics_are_unknown(plist: bytes) -> None:
    assert parse(plist, WORKING_SET) == Gpu(0, vram_total_bytes=WORKING_SET)


@pytest.mark.skipif(sys.platform == "darwin", reason="this is a Mac")
def test_other_systems_have_no_apple_gpu() -> None:
    assert Apple()() == []
