"""The host's resources in the hub's format: all collectors, sampled in a separate thread.

A driver that hangs blocks its caller without any deadline, so it must never run in the
thread that communicates with the hub.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from hub.sidecar.collectors.amd import Amd, Rocm
from hub.sidecar.collectors.apple import Apple
from hub.sidecar.collectors.gpu import Gpu, ReadGpus, total
from hub.sidecar.collectors.nvidia import Nvidia
from hub.sidecar.collectors.processor import Processor, memory

# The maximum that a frame may contain.
_MAX_GPUS = 64


def this_hosts_gpus() -> tuple[ReadGpus, ...]:
    """The collectors in the order in which they are read."""
    amd, rocm = Amd(), Rocm(time.monotonic)

    def any_amd() -> Sequence[Gpu]:
        return amd() or rocm()

    return Nvidia(), any_amd, Apple()


class Host:
    """Reads all collectors at once; a figure that none of them provides is None."""

    def __init__(self, gpus: Sequence[ReadGpus]) -> None:
        self._processor = Processor()
        self._gpus = gpus
        self._processor.cpu_percent()

    def read(self) -> dict[str, object]:
        """The fields of a `resource_report`."""
        devices = [device for read in self._gpus for device in read()]
        used, whole = memory()
        frame: dict[str, object] = {
            "cpu_percent": self._processor.cpu_percent(),
            "ram_used_bytes": used,
            "ram_total_bytes": whole,
            "vram_used_bytes": total([device.vram_used_bytes for device in devices]),
            "vram_total_bytes": total([device.vram_total_bytes for device in devices]),
        }
        if devices:
            frame["gpus"] = [
                device.frame() | {"index": index}
                for index, device in enumerate(devices[:_MAX_GPUS])
            ]
        return frame


log = logging.getLogger("llm-hub.sidecar")

_SETTLE_S = 0.25


class Sampler:
    """Calls `read` every `interval_s` seconds; `fresh` returns the last sample if recent."""

    def __init__(self, read: Callable[[], dict[str, object]], interval_s: float) -> None:
        self._read = read
        self._interval_s = interval_s
        self._sample: tuple[float, dict[str, object]] | None = None
        self._on_sample: Callable[[], object] = lambda: None
        self._stop = threading.Event()
        # A daemon, so that a hanging driver does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self, on_sample: Callable[[], object]) -> None:
        """Starts sampling; calls `on_sample` in the thread after every sample."""
        self._on_sample = on_sample
        self._thread.start()

    def stop(self) -> None:
        """Stops after the current sample."""
        self._stop.set()

    def fresh(self) -> dict[str, object] | None:
        """The last sample, or None if it is older than two intervals."""
        sample = self._sample
        if sample is None or time.monotonic() - sample[0] > 2 * self._interval_s + 1:
            return None
        return sample[1]

    def _run(self) -> None:
        # The busy share is meaningless over a shorter time.
        self._stop.wait(min(_SETTLE_S, self._interval_s))
        while not self._stop.is_set():
            try:
                self._sample = (time.monotonic(), self._read())
            except Exception:
                log.exception("the host could not be read")
            self._on_sample()
            self._stop.wait(self._interval_s)
