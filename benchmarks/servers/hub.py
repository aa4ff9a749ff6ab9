"""The real hub, optionally with a fleet that it has already observed.

Settings come from the environment. With `BENCH_WITHOUT_BOUNDS`, the bounds that are no
settings are at their maximum. The first argument is the number of models of every
endpoint in the store, as a probe of a real server would find them; 0 for no
observation. A second one, "unprobed", keeps the hub from asking the endpoints itself. On
SIGUSR1 it prints its counters.
"""

import asyncio
import logging
import os
import signal
import sys
from dataclasses import fields
from typing import Final

import uvloop

from benchmarks.fleet import observation
from benchmarks.servers import ready
from hub.base.clock import SystemClock
from hub.base.load_settings import load_settings
from hub.base.settings import Settings
from hub.server import logs
from hub.server.hub_server import HubServer
from hub.server.process import tune_garbage_collector
from hub.transports.grpc import native_grpc_server
from hub.transports.grpc.native.limits import Limits
from hub.transports.websocket import websocket_server
from hub.transports.websocket.websocket_limits import WebSocketLimits

_FAR: Final = 2**30


class MeasuredHub(HubServer):
    """A hub that accepts observations without probes, and exposes its counters."""

    async def observe_all(self, models: int, now_ms: int) -> None:
        """Records every endpoint as healthy, with that many models, and probes none of them.

        Nothing listens at their addresses: each first probe would be a change, and a change
        costs readers a new encoding of the list.
        """
        fleet = self._require_fleet()
        await fleet.probes.stop()
        for number, record in enumerate(list(fleet.registry.endpoints())):
            fleet.observe(record.message.id, observation(number, models, now_ms))

    def probe_none(self) -> None:
        """Ends the probes of all endpoints."""
        fleet = self._require_fleet()
        for record in list(fleet.registry.endpoints()):
            fleet.probes.unwatch(record.message.id)

    def counted(self) -> dict[str, int]:
        """Transactions on disk, the batches in them, and the results of the probes."""
        probes = self._require_fleet().probes.stats
        batches = self._observability.store_counts.batches
        return {
            "transactions": round(batches.buckets()[-1][1]),
            "batches": round(batches.sum),
            "probes": probes.probes,
            "failures": probes.failures,
            "worst_lateness_ms": probes.worst_lateness_ms,
        }


def _widen(limits: type[Limits | WebSocketLimits]) -> dict[str, int | float]:
    """The bounds of a class, far beyond anything that a measurement reaches."""
    return {each.name: type(each.default)(_FAR) for each in fields(limits)} | {
        # Protocols limit these themselves.
        name: value
        for name, value in {"stream_window": 2**20, "connection_window": 2**22}.items()
        if limits is Limits
    }


def _remove_bounds() -> None:
    wide_grpc = _widen(Limits)
    native_grpc_server.Limits = lambda **_: Limits(**wide_grpc)  # type: ignore[assignment]
    wide_ws = _widen(WebSocketLimits)
    websocket_server.WebSocketLimits = lambda: WebSocketLimits(**wide_ws)  # type: ignore[assignment]


async def _main(settings: Settings, models: int, *, probed: bool) -> None:
    ready.prepare()
    clock = SystemClock()
    hub = MeasuredHub(settings, clock, on_loaded=tune_garbage_collector)
    await hub.start()
    if not probed:
        hub.probe_none()
    if models:
        await hub.observe_all(models, clock.now_ms())
        tune_garbage_collector()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: ready.say(**hub.counted()))
    info = hub.info()
    ready.say(
        ws=int(info.ws_address.rpartition(":")[2]),
        grpc=int(info.grpc_address.rpartition(":")[2]),
        http=int(info.http_address.rpartition(":")[2]),
    )
    try:
        await ready.until_stopped()
    finally:
        await hub.stop()


def _run() -> None:
    if "BENCH_WITHOUT_BOUNDS" in os.environ:
        _remove_bounds()
    settings = load_settings(environment=os.environ)
    logs.configure(settings.log)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    uvloop.run(_main(settings, int(sys.argv[1]), probed="unprobed" not in sys.argv))


_run()
