"""AMD devices where the driver's files are hidden, as in many containers: by rocm-smi.

The program takes one second of CPU time, so it runs rarely, and only if it is installed
and the files show nothing.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping

from hub.sidecar.collectors.gpu import Gpu

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
    """Asks rocm-smi at most every `EVERY_S` seconds of `monotonic_s`."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._program = shutil.which(_COMMAND[0])
        self._asked_s: float | None = None
        self._last: list[Gpu] = []

    def __call__(self) -> list[Gpu]:
        """The devices as of the last run of the program."""
        now_s = self._monotonic_s()
        if self._program and (self._asked_s is None or now_s - self._asked_s >= EVERY_S):
            self._asked_s = now_s
            self._last = _ask(self._program)
        return self._last


def parse(text: str) -> list[Gpu]:
    """Reads rocm-smi's JSON: an object a card, every value a string. [] where it is none."""
    try:
        cards = json.loads(text)
    except ValueError:
        return []
    if not isinstance(cards, dict):
        return []
    found = [card for name, card in sorted(cards.items()) if _is_card(name, card)]
    return [_gpu(index, card) for index, card in enumerate(found)]


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


def _gpu(index: int, card: Mapping[str, object]) -> Gpu:
    used = _number(card, "VRAM Total Used Memory (B)")
    whole = _number(card, "VRAM Total Memory (B)")
    return Gpu(
        index=index,
        name=_text(card, "Card series", "Card Series", "Card model", "Card Model"),
        uuid=_text(card, "Unique ID"),
        utilization_percent=_number(card, "GPU use (%)"),
        vram_used_bytes=int(used) if used is not None else None,
        vram_total_bytes=int(whole) if whole is not None else None,
        temperature_celsius=_number(
            card, "Temperature (Sensor edge) (C)", "Temperature (Sensor junction) (C)"
        ),
        power_watts=_number(
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


def _number(card: Mapping[str, object], *names: str) -> float | None:
    text = _text(card, *names)
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < 2**53 else None
