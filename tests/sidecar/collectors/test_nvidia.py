from types import SimpleNamespace

from hub.sidecar.collectors.gpu import Gpu
from hub.sidecar.collectors.nvidia import Nvidia


class NVMLError(Exception):
    pass


class NotSupported(NVMLError):
    pass


class Driver:
    """NVML's calls, with the answers of a machine with devices."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NotSupported
    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        self.is_lost = False
        self.opened = 0

    def nvmlInit(self) -> None:
        if self.is_lost:
            raise NVMLError
        self.opened += 1

    def nvmlDeviceGetCount(self) -> int:
        if self.is_lost:
            raise NVMLError
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, _handle: int) -> bytes:
        return b"NVIDIA L4"

    def nvmlDeviceGetUUID(self, _handle: int) -> str:
        return "GPU-1"

    def nvmlDeviceGetMemoryInfo(self, _handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=1 << 30, total=24 << 30)

    def nvmlDeviceGetUtilizationRates(self, _handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=37, memory=5)

    def nvmlDeviceGetTemperature(self, _handle: int, _sensor: int) -> int:
        return 54

    def nvmlDeviceGetPowerUsage(self, _handle: int) -> int:
        raise NotSupported


def test_each_figure_in_the_units_of_the_frames() -> None:
    assert Nvidia(Driver())() == [
        Gpu(0, "NVIDIA L4", "GPU-1", 37.0, 1 << 30, 24 << 30, 54.0, power_watts=None)
    ]


def test_a_lost_driver_is_opened_again() -> None:
    driver = Driver()
    read = Nvidia(driver)
    read()
    read()
    assert driver.opened == 1
    driver.is_lost = True
    assert read() == []
    driver.is_lost = False
    assert len(read()) == 1
    assert driver.opened == 2


def test_the_real_library_never_raises() -> None:
    # Without a driver it finds no devices.
    assert all(gpu.vram_total_bytes for gpu in Nvidia()())
