"""The hub as a process: signals, the event loop, the garbage collector, and an exit code."""

import asyncio
import gc
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from hub.base.clock import SystemClock
from hub.base.load_settings import StartError
from hub.base.settings import Settings
from hub.base.tasks import tell_of_end
from hub.server import logs
from hub.server.descriptors import allowed, shared_out
from hub.server.first_start import raise_open_files
from hub.server.hub_server import HubServer
from hub.server.reload import Load, Reloader
from hub.server.server_info import show_banner
from hub.stores.store import StoreError

log = structlog.get_logger()


def run(settings: Settings, load: Load | None = None, config_file: Path | None = None) -> int:
    """Runs a hub until a signal stops it; returns the process's exit code.

    `load` reads the settings again; if there is a file, SIGHUP or a change of
    it makes the hub do so.
    """
    logs.configure(settings.log)
    raise_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, load or (lambda: settings), config_file))


async def _serve(settings: Settings, load: Load, config_file: Path | None) -> int:
    stop, failed = asyncio.Event(), asyncio.Event()

    def fail() -> None:
        failed.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    try:
        hub = HubServer(shared_out(settings, allowed()), SystemClock(), fail, settle_collector)
        is_started = await _start(hub, stop)
    except (StartError, StoreError, OSError) as error:
        print(f"llm-hub: {error}", file=sys.stderr)
        return 1
    if is_started:
        reloader = Reloader(settings, load, hub.reconfigure, config_file)
        # Without a file there is nothing new to read, and the terminal that hung up
        # was the hub's own, unless the signal is ignored (nohup): then the hub outlives it.
        if config_file is not None or settings.tls.cert_file:
            loop.add_signal_handler(signal.SIGHUP, reloader.request)
        elif signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, stop.set)
        try:
            reloading = asyncio.create_task(reloader.run(), name="reload")
            tell_of_end(reloading, fail)
            show_banner(hub.info(), settings, hub.new_admin_token)
            await stop.wait()
            log.info("stopping")
            reloading.cancel()
            await asyncio.wait([reloading])
        finally:
            await hub.stop()
    log.info("stopped")
    return 1 if failed.is_set() else 0


async def _start(hub: HubServer, stop: asyncio.Event) -> bool:
    """Starts the hub; returns False if a signal came before, and then the hub has stopped."""
    starting = asyncio.create_task(hub.start(), name="start")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stopping.done():
        starting.cancel()
    stopping.cancel()
    try:
        await starting
    except asyncio.CancelledError:
        return False
    return True


def settle_collector() -> None:
    """Makes the garbage collector ignore what exists now, and look at the rest seldom.

    Called after the fleet is loaded and before the hub listens. A full collection need not
    walk what lives as long as the process: with ten thousand endpoints that walk takes a
    third of a second, during which the hub answers no request.

    A pass takes about a microsecond for each object made since the last one that still
    lives. Hundreds of probes in flight come and go, and a threshold that their number
    crosses by chance makes passes that find nothing; cycles, which are what the collector
    is for, are rare here (6 objects a gRPC call, none a probe).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
