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
from hub.base.tasks import log_unexpected_end
from hub.server import logs
from hub.server.banner import show_banner
from hub.server.exposure import require_safe
from hub.server.file_descriptors import allowed, log_shares, shared_out
from hub.server.first_start import raise_open_files
from hub.server.hub_server import HubServer
from hub.server.reload import Load, Reloader
from hub.stores.store import StoreError

log = structlog.get_logger()


def run(settings: Settings, load: Load | None = None, config_file: Path | None = None) -> int:
    """Runs a hub until a signal stops it; returns the process's exit code.

    `load` reads the settings again. If there is a file, the hub calls it on SIGHUP and
    when the file changes.
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
        require_safe(settings)
        shared = shared_out(settings, allowed())
        hub = HubServer(shared, SystemClock(), fail, tune_garbage_collector)
        is_started = await _start(hub, stop)
    except (StartError, StoreError, OSError) as error:
        print(f"llm-hub: {error}", file=sys.stderr)
        return 1
    if is_started:
        log_shares(settings, shared)
        reloader = Reloader(settings, load, hub.reconfigure, config_file)
        # Without a file there is nothing to reload, so SIGHUP means that the hub's terminal
        # closed. Under nohup the signal is ignored and the hub goes on.
        if config_file is not None or settings.tls.cert_file:
            loop.add_signal_handler(signal.SIGHUP, reloader.request)
        elif signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, stop.set)
        try:
            reloading = asyncio.create_task(reloader.run(), name="reload")
            log_unexpected_end(reloading, fail)
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
    """Starts the hub; returns False if a signal has stopped it meanwhile."""
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


def tune_garbage_collector() -> None:
    """Makes the garbage collector ignore all objects that exist now, and run rarely.

    Called after the fleet is loaded and before the hub listens. Otherwise every full
    collection walks the objects that live as long as the process: with ten thousand
    endpoints that takes a third of a second, during which the hub answers no request.

    A pass takes about a microsecond for each surviving object made since the last pass.
    With hundreds of probes in flight, a low threshold triggers passes that find nothing.
    Cycles, which only the collector frees, are rare here: 6 objects per gRPC call and
    none per probe.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
