"""Runs the benchmarks and prints a table; see docs/performance.md.

Exits with 0 though a budget is missed: a figure depends on the machine, so it
is read and not tested. Exits with 1 when a measurement failed to run.
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
    detection,
    fleet_10k,
    frames,
    hanging,
    reads,
    registrations,
    services,
    sidecars,
)

SUITES: dict[str, Callable[..., Awaitable[list[Row]]]] = {
    "frames": frames.run,
    "sidecars": sidecars.run,
    "reads": reads.run,
    "registrations": registrations.run,
    "services": services.run,
    "hanging": hanging.run,
    "detection": detection.run,
    "fleet_10k": fleet_10k.run,
}
"""By name, in the order in which they run."""

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
        except Exception:  # one that fails shall not hide the others
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(f"\n{table(rows)}")
    if failed:
        print(f"failed to run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--quick", action="store_true", help="a smaller share, in a minute or so")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - SUITES.keys():
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    return uvloop.run(_run(arguments.names or list(SUITES), quick=arguments.quick))


if __name__ == "__main__":
    sys.exit(main())
