"""Tortures hubs and prints what they lost; see docs/reliability.md.

Exits with 1 if anything was lost, or if a torture could not be carried out.
"""

import argparse
import asyncio
import logging
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import structlog

from tests.torture import attacked, damage, disks, kills, returns, soak, stalls
from tests.torture.outcome import Row, Scale, table, total

TORTURES: dict[str, Callable[[Scale, Path], Awaitable[list[Row]]]] = {
    "kills": kills.run,
    "disks": disks.run,
    "damage": damage.run,
    "stalls": stalls.run,
    "returns": returns.run,
    "attacks": attacked.run,
    "soak": soak.run,
}
SHARE = Scale(
    kills=3,
    damages=3,
    sidecars=100,
    stopped_s=1.0,
    writers=1,
    soak_s=6.0,
    soak_period_s=6.0,
    churn=1,
    ring_events=100,
    attacks=("L6: frames",),
    attack_s=1.0,
    again=False,
)
"""What `make test` does."""

_TIMEOUT_S = 3_600.0
_MEMORY_BYTES = 4 * 1024**3


async def torture(names: list[str], scale: Scale) -> int:
    """Runs the tortures by name; returns the exit code."""
    rows: list[Row] = []
    failed = []
    for name in names:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="llm-hub-torture-") as directory:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    rows += await TORTURES[name](scale, Path(directory))
            except Exception:  # the others still say what they find
                traceback.print_exc()
                failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    for row in rows:
        if row.details:
            print(f"\n{row.torture}\n\n{row.details}")
    print(f"\n{table(rows)}\n\nlost: {total(rows)}")
    if failed:
        print(f"failed to run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed or total(rows) else 0


def main() -> int:
    """Parses the command line and runs the tortures."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="torture", help=", ".join(TORTURES))
    parser.add_argument("--share", action="store_true", help="the small share of `make test`")
    parser.add_argument("--attack", metavar="NAME", help="only attacks with this in their name")
    parser.add_argument("--kills", type=int, default=Scale().kills, metavar="COUNT")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - TORTURES.keys():
        parser.error(f"unknown torture: {', '.join(sorted(unknown))}")
    # Inherited by the hubs: a hub that grows without bound ends, and not the machine.
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    scale = SHARE if arguments.share else Scale(kills=arguments.kills)
    if arguments.attack:
        scale = replace(scale, attacks=(arguments.attack,))
    return asyncio.run(torture(arguments.names or list(TORTURES), scale))


if __name__ == "__main__":
    sys.exit(main())
