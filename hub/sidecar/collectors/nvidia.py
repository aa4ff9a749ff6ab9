"""NVIDIA devices, by NVML (bytes, milliwatts, percent; NVML API reference)."""

from collections.abc import Callable
from typing import Any, TypeVar

from hub.sidecar.collectors.gpu import Gpu

T = TypeVar("T")


class Nvidia:
    """Reads through NVML, which is opened at the first reading that succeeds.

    `nvml` is the module pynvml. It is not typed: hence Any.
    """

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml if nvml is not None else _load()
        self._is_open = False

    def __call__(self) -> list[Gpu]:
        """The devices; none without a driver, or while it fails."""
        nvml = self._nvml
        if nvml is None:
            return []
        try:
            if not self._is_open:
                nvml.nvmlInit()
                self._is_open = True
            return [self._read(index) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError:
            # A driver that was updated or reset answers only after it is opened again.
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
        """One figure; None where this device does not tell it (many lack one or two)."""
        try:
            return question()
        except self._nvml.NVMLError_NotSupported:
            return None


# pynvml gave bytes before it gave text.
def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _load() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml
