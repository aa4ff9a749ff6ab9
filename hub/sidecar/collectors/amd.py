"""AMD devices, by the files of the kernel's amdgpu driver.

The kernel's documentation of drm/amdgpu names them: `mem_info_vram_*` in bytes,
`gpu_busy_percent`, and beside them hwmon's millidegrees and microwatts. Reading
them costs microseconds; amd-smi and rocm-smi start a program for the same figures.
"""

from pathlib import Path

from hub.sidecar.collectors.gpu import Gpu

DRM = Path("/sys/class/drm")
_VENDOR = "0x1002"


class Amd:
    """Reads what lies under `drm`."""

    def __init__(self, drm: Path = DRM) -> None:
        self._drm = drm

    def __call__(self) -> list[Gpu]:
        """The devices, by the number of their card."""
        cards = [
            card / "device"
            for card in sorted(self._drm.glob("card*"), key=_number)
            if card.name.removeprefix("card").isdigit()
            and _read(card / "device" / "vendor") == _VENDOR
        ]
        return [_gpu(index, device) for index, device in enumerate(cards)]


def _gpu(index: int, device: Path) -> Gpu:
    millidegrees = _sensor(device, "temp1_input")
    microwatts = _sensor(device, "power1_average") or _sensor(device, "power1_input")
    busy = _integer(device / "gpu_busy_percent")
    return Gpu(
        index=index,
        name=_read(device / "product_name") or None,
        uuid=_read(device / "unique_id") or None,
        utilization_percent=float(busy) if busy is not None else None,
        vram_used_bytes=_integer(device / "mem_info_vram_used"),
        vram_total_bytes=_integer(device / "mem_info_vram_total"),
        temperature_celsius=millidegrees / 1000 if millidegrees is not None else None,
        power_watts=microwatts / 1_000_000 if microwatts is not None else None,
    )


def _sensor(device: Path, name: str) -> int | None:
    for monitor in sorted((device / "hwmon").glob("hwmon*")):
        if (value := _integer(monitor / name)) is not None:
            return value
    return None


def _integer(file: Path) -> int | None:
    text = _read(file)
    return int(text) if text.isdigit() else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()[:128]
    except OSError:
        return ""


def _number(card: Path) -> int:
    digits = card.name.removeprefix("card")
    return int(digits) if digits.isdigit() else 0
