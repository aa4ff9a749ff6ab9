"""Runs the benchmarks and prints a table; see docs/performance.md.

Exits with 0 even if a budget is missed: the figures depend on the machine, so
people read them and no test checks them. Exits with 1 if a measurement failed.
"""

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks import machine
from benchmarks.rows import Row, table
from benchmarks.suites import (
    affinity,
    bounds,
    detection,
    envoy,
    fleet_10k,
    frames,
    hanging,
    killed_server,
    native_grpc,
    probes,
    reads,
    registrations,
    services,
    sidecars,
    validation,
    warm_restart,
)

SUITES: dict[str, Callable[..., Awaitable[list[Row]]]] = {
    "validation": validation.run,
    "frames": frames.run,
    "sidecars": sidecars.run,
    "reads": reads.run,
    "native_grpc": native_grpc.run,
    "envoy": envoy.run,
    "killed_server": killed_server.run,
    "bounds": bounds.run,
    "registrations": registrations.run,
    "services": services.run,
    "affinity": affinity.run,
    "hanging": hanging.run,
    "probes": probes.run,
    "detection": detection.run,
    "warm_restart": warm_restart.run,
    "fleet_10k": fleet_10k.run,
}
"""The suites by name, in the order in which they run."""

_TIMEOUT_S = 600.0


async def _run(names: list[str], *, quick: bool) -> int:
    machine.raise_open_files()
    print(machine.describe(), flush=True)
    rows: list[Row] = []
    failed = []
    for name in names:
        started = time.monotonic()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                rows += await SUITES[name](quick=quick)
        except Exception:  # a failing suite must not hide the others
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(f"\n{table(rows)}")
    if failed:
        print(f"failed to run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    """Parses the command line and runs the suites."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="suite", help=f"default: all of {', '.join(SUITES)}"
    )
    parser.add_argument("--quick", action="store_true", help="smaller, in about a minute")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - SUITES.keys():
        parser.error(f"unknown suite: {', '.join(sorted(unknown))}")
    return uvloop.run(_run(arguments.names or list(SUITES), quick=arguments.quick))


if __name__ == "__main__":
    sys.exit(main())
