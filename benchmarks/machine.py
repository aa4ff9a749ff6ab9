"""The machine that the figures were measured on."""

import os
import platform
import resource
from importlib.metadata import version
from pathlib import Path

_PARTS = ("grpcio", "protobuf", "protovalidate", "websockets", "uvloop", "orjson", "aiohttp")


def describe() -> str:
    """Two lines: the machine, and the versions of the measured libraries."""
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    parts = ", ".join(f"{name} {version(name)}" for name in _PARTS)
    return (
        f"{_cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load average {load}\n{parts}"
    )


def raise_open_files() -> int:
    """Raises the limit of open files to its maximum; returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
