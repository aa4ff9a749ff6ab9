"""NVIDIA devices, read with NVML (bytes, milliwatts, percent; NVML API reference)."""

from collections.abc import Callable
from typing import Any, TypeVar

from hub.sidecar.collectors.gpu import Gpu

T = TypeVar("T")


class Nvidia:
    """Reads devices with NVML, which is opened at the first successful reading.

    `nvml` is the module pynvml. Any, because it has no type information.
    """

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml if nvml is not None else _load()
        self._is_open = False

    def __call__(self) -> list[Gpu]:
        """The devices; empty without a driver, or while it fails."""
        nvml = self._nvml
        if nvml is None:
            return []
        try:
            if not self._is_open:
                nvml.nvmlInit()
                self._is_open = True
            return [self._read(index) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError:
            # A driver that was updated or reset answers only after NVML is opened again.
            self._is_open = False
            return []

    def _read(self, index: int) -> Gpu:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        milliwatts = self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return Gpu(
            index=index,
            name=self._ask(lambda: _text(nvml.nvmlDeviceGetName(handle))),
            uuid=self._ask(lambda: _text(nvml.nvmlDeviceGetUUID(handle))),
            utilization_percent=self._ask(
                lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            ),
            vram_used_bytes=int(memory.used) if memory is not None else None,
            vram_total_bytes=int(memory.total) if memory is not None else None,
            temperature_celsius=self._ask(
                lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
            ),
            power_watts=milliwatts / 1000 if milliwatts is not None else None,
        )

    def _ask(self, question: Callable[[], T]) -> T | None:
        """One figure; None if the device does not support it (many lack one or two)."""
        try:
            return question()
        except self._nvml.NVMLError_NotSupported:
            return None


# Older versions of pynvml return bytes.
def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _load() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml
