"""The hub as a process: signals, the event loop, the garbage collector, and an exit code."""

import asyncio
import contextlib
import gc
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from hub import banner, logs
from hub.app import Hub
from hub.bootstrap import StartError, raise_open_files
from hub.clock import SystemClock
from hub.reload import Load, Reloader
from hub.settings import Settings
from hub.stores.base import StoreError

log = structlog.get_logger()


def run(settings: Settings, load: Load | None = None, config_file: Path | None = None) -> int:
    """Runs a hub until it is told to stop; returns the process's exit code.

    `load` reads the settings again; where there is a file, SIGHUP or a change of
    it makes the hub do so.
    """
    logs.configure(settings.log)
    raise_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, load or (lambda: settings), config_file))


async def _serve(settings: Settings, load: Load, config_file: Path | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    try:
        hub = Hub(settings, SystemClock())
        await hub.start()
    except (StartError, StoreError, OSError) as error:
        print(f"llm-hub: {error}", file=sys.stderr)
        return 1
    # What lives as long as the process need not be walked by every full
    # collection; with thousands of connections those walks are felt.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    reloader = Reloader(settings, load, hub.reconfigure, config_file)
    # Without a file there is nothing new to read, and the terminal that hung up
    # was the hub's own.
    has_news = config_file is not None or settings.tls.cert_file
    on_hangup = reloader.request if has_news else stop.set
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    reloading = asyncio.create_task(reloader.run(), name="reload")
    reloading.add_done_callback(lambda _: stop.set())
    banner.show(hub.info(), settings, hub.new_admin_token)
    await stop.wait()
    log.info("stopping")
    reloading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reloading
    await hub.stop()
    log.info("stopped")
    return 0
