"""Moments that can be compared across restarts of a process and of its machine.

A wall clock can be set between two starts of the hub, so it does not measure how much time
has passed. The time since the machine booted does, within one boot.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by both clocks of a machine, in milliseconds.

    `boot_id` names the boot that `boot_ms` counts from. It is empty if the system has no
    boot ids, and then `boot_ms` means nothing to another process.
    """

    boot_id: str
    boot_ms: int
    wall_ms: int


def age_ms(then: Moment, now: Moment) -> int | None:
    """How long ago `then` was, at least; None if that is unknown.

    Exact within one boot, whatever happened to the wall clock. Across a reboot the wall
    clock decides, and the age is at least the time since that reboot; it is unknown if
    the wall clock was set back beyond `then`.
    """
    is_same_boot = bool(now.boot_id) and then.boot_id == now.boot_id
    # A container with its own time namespace can show less than before.
    if is_same_boot and now.boot_ms >= then.boot_ms:
        return now.boot_ms - then.boot_ms
    passed_ms = now.wall_ms - then.wall_ms
    if passed_ms < 0:
        return None
    return max(passed_ms, now.boot_ms) if now.boot_id and not is_same_boot else passed_ms


class MachineTime(Protocol):
    """Reads both clocks."""

    def now(self) -> Moment:
        """The current moment."""
        ...


class SystemTime:
    """The clocks of this machine."""

    def __init__(self) -> None:
        self._clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._boot_id = ""
        with suppress(OSError):
            self._boot_id = _BOOT_ID_FILE.read_text("ascii").strip()[:64]

    def now(self) -> Moment:
        """See `MachineTime`."""
        boot_ms = time.clock_gettime_ns(self._clock) // 1_000_000
        return Moment(self._boot_id, boot_ms, time.time_ns() // 1_000_000)
