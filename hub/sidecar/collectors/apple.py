"""Apple silicon: the memory that Metal recommends as a working set, and ioreg's statistics.

The processors share the main memory. Metal's `recommendedMaxWorkingSetSize`, not the size
of the RAM, is how much of it the GPU may use.
"""

import ctypes
import plistlib
import subprocess
import sys
from collections.abc import Mapping

from hub.sidecar.collectors.gpu import Gpu

_METAL = "/System/Library/Frameworks/Metal.framework/Metal"
_OBJC = "/usr/lib/libobjc.A.dylib"
_IOREG = ("/usr/sbin/ioreg", "-a", "-r", "-d", "1", "-c", "IOAccelerator")
_TIMEOUT_S = 5.0


class Apple:
    """Reads the only GPU of an Apple chip; there is none on other systems."""

    def __init__(self) -> None:
        self._working_set = _recommended_working_set() if sys.platform == "darwin" else None

    def __call__(self) -> list[Gpu]:
        """The device, if this is a Mac with Metal."""
        if self._working_set is None:
            return []
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command
                _IOREG, capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return [Gpu(index=0, vram_total_bytes=self._working_set)]
        return [parse(done.stdout, self._working_set)]


def parse(plist: bytes, working_set: int) -> Gpu:
    """Reads ioreg's list of accelerators (`ioreg -a`); missing values are unknown."""
    try:
        entries = plistlib.loads(plist)
    except (plistlib.InvalidFileException, ValueError, OverflowError):
        entries = []
    first = entries[0] if isinstance(entries, list) and entries else {}
    entry: Mapping[str, object] = first if isinstance(first, dict) else {}
    statistics = entry.get("PerformanceStatistics")
    known: Mapping[str, object] = statistics if isinstance(statistics, dict) else {}
    busy = _count(known.get("Device Utilization %"))
    model = entry.get("model")
    return Gpu(
        index=0,
        name=model if isinstance(model, str) else None,
        utilization_percent=float(min(busy, 100)) if busy is not None else None,
        vram_used_bytes=_count(known.get("In use system memory")),
        vram_total_bytes=working_set,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _recommended_working_set() -> int | None:
    """Metal's figure in bytes; None if there is no Metal."""
    try:
        metal, objc = ctypes.CDLL(_METAL), ctypes.CDLL(_OBJC)
        metal.MTLCreateSystemDefaultDevice.restype = ctypes.c_void_p
        objc.sel_registerName.restype = ctypes.c_void_p
        objc.sel_registerName.argtypes = [ctypes.c_char_p]
        send = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)(
            ("objc_msgSend", objc)
        )
    except (OSError, AttributeError):
        return None
    device = metal.MTLCreateSystemDefaultDevice()
    if not device:
        return None
    return int(send(device, objc.sel_registerName(b"recommendedMaxWorkingSetSize"))) or None
