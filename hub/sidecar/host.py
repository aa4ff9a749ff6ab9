"""The host's resources as the hub wants them: the collectors together."""

import time
from collections.abc import Sequence

from hub.sidecar.collectors.amd import Amd
from hub.sidecar.collectors.apple import Apple
from hub.sidecar.collectors.gpu import Gpu, ReadGpus, total
from hub.sidecar.collectors.nvidia import Nvidia
from hub.sidecar.collectors.processor import Processor, memory
from hub.sidecar.collectors.rocm import Rocm

# What a frame may hold.
_MAX_GPUS = 64


def this_hosts_gpus() -> tuple[ReadGpus, ...]:
    """The collectors in the order in which they are asked."""
    amd, rocm = Amd(), Rocm(time.monotonic)

    def any_amd() -> Sequence[Gpu]:
        return amd() or rocm()

    return Nvidia(), any_amd, Apple()


class Host:
    """Reads all collectors at once; a figure that none of them has is None."""

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
