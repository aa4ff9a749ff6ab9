"""AMD devices, from the files of the kernel's amdgpu driver or from rocm-smi.

The kernel's documentation of drm/amdgpu names the files: `mem_info_vram_*` in bytes,
`gpu_busy_percent`, and hwmon's millidegrees and microwatts. Reading them costs
microseconds. Many containers hide them. rocm-smi gives the same figures, but takes
one second of CPU time, so it runs rarely, and only if the files show nothing.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from hub.sidecar.collectors.gpu import Gpu

DRM = Path("/sys/class/drm")
_VENDOR = "0x1002"


class Amd:
    """Reads the files below `drm`."""

    def __init__(self, drm: Path = DRM) -> None:
        self._drm = drm

    def __call__(self) -> list[Gpu]:
        """The devices, sorted by the number of their card."""
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


EVERY_S = 300.0
_TIMEOUT_S = 10.0
_COMMAND = (
    "rocm-smi",
    "--showproductname",
    "--showuniqueid",
    "--showuse",
    "--showmeminfo",
    "vram",
    "--showtemp",
    "--showpower",
    "--json",
)


class Rocm:
    """Runs rocm-smi at most once per `EVERY_S` seconds of `monotonic_s`."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._program = shutil.which(_COMMAND[0])
        self._asked_s: float | None = None
        self._last: list[Gpu] = []

    def __call__(self) -> list[Gpu]:
        """The devices in the last output of the program."""
        now_s = self._monotonic_s()
        if self._program and (self._asked_s is None or now_s - self._asked_s >= EVERY_S):
            self._asked_s = now_s
            self._last = _ask(self._program)
        return self._last


def parse(text: str) -> list[Gpu]:
    """Reads rocm-smi's JSON: one object per card, all values strings. [] if it is invalid."""
    try:
        cards = json.loads(text)
    except ValueError:
        return []
    if not isinstance(cards, dict):
        return []
    found = [card for name, card in sorted(cards.items()) if _is_card(name, card)]
    return [_gpu_of_card(index, card) for index, card in enumerate(found)]


def _ask(program: str) -> list[Gpu]:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            (program, *_COMMAND[1:]), capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse(done.stdout.decode("utf-8", "replace"))


def _is_card(name: str, card: object) -> bool:
    return name.startswith("card") and isinstance(card, dict)


def _gpu_of_card(index: int, card: Mapping[str, object]) -> Gpu:
    used = _figure(card, "VRAM Total Used Memory (B)")
    whole = _figure(card, "VRAM Total Memory (B)")
    return Gpu(
        index=index,
        name=_text(card, "Card series", "Card Series", "Card model", "Card Model"),
        uuid=_text(card, "Unique ID"),
        utilization_percent=_figure(card, "GPU use (%)"),
        vram_used_bytes=int(used) if used is not None else None,
        vram_total_bytes=int(whole) if whole is not None else None,
        temperature_celsius=_figure(
            card, "Temperature (Sensor edge) (C)", "Temperature (Sensor junction) (C)"
        ),
        power_watts=_figure(
            card,
            "Average Graphics Package Power (W)",
            "Current Socket Graphics Package Power (W)",
        ),
    )


def _text(card: Mapping[str, object], *names: str) -> str | None:
    for name in names:
        value = card.get(name)
        if isinstance(value, str) and value and value != "N/A":
            return value[:128]
    return None


def _figure(card: Mapping[str, object], *names: str) -> float | None:
    text = _text(card, *names)
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < 2**53 else None
