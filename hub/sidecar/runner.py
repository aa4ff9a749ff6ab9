"""Runs the sidecar and reconnects it: all I/O around the parts that do none."""

import asyncio
import contextlib
import json
import logging
import random
import signal
import ssl
import sys
import time
from collections.abc import Callable
from typing import TextIO

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
)

from hub.base.clock import Clock, SystemClock
from hub.base.tls_files import TlsFilesError
from hub.sidecar.conversation import Conversation, Identity
from hub.sidecar.discovery import Discovery
from hub.sidecar.ending import REFUSED_WAIT_MS, Ending, ReconnectDelay, ending_of_close
from hub.sidecar.host import Host, Sampler, this_hosts_gpus
from hub.sidecar.local_action import LocalAction
from hub.sidecar.local_actions import LocalActions
from hub.sidecar.local_http import why
from hub.sidecar.sidecar_settings import SettingsError, SidecarSettings

log = logging.getLogger("llm-hub.sidecar")

# The exit code with which a service manager must not restart it: see packaging.
REPLACED_EXIT = 7

_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2.0
_KEEPALIVE_S = 20.0
_MAX_FRAME_BYTES = 65_536
# How long to wait for the first look and the first sample before connecting without them.
_FIRST_LOOK_S = 5.0
# The interval of glances at the known servers between two looks.
_GLANCE_S = 2.0


def run(settings: SidecarSettings, log_level: str) -> int:
    """Runs a sidecar until a signal stops it. Returns the exit code of the process."""
    configure_log(log_level, lambda: settings.token_source.secret)
    return asyncio.run(_until_stopped(settings))


async def _until_stopped(settings: SidecarSettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    sampler = Sampler(Host(this_hosts_gpus()).read, settings.interval_s)
    sidecar = SidecarRunner(settings, sampler, SystemClock(), random.random)
    return await sidecar.run(stop)


class SidecarRunner:
    """Keeps one connection to the hub; `draw` returns a number in [0, 1)."""

    def __init__(
        self,
        settings: SidecarSettings,
        sampler: Sampler,
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._sampler = sampler
        self._clock = clock
        self._backoff = ReconnectDelay(draw)
        self._discovery = Discovery(settings.endpoints, settings.ports)
        self._has_looked = asyncio.Event()
        self._has_sampled = asyncio.Event()
        self._waiting: asyncio.Timeout | None = None
        self._actions = LocalActions(self._discovery, self._wake)
        self._acting: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> int:
        """Connects again and again until `stop` is set. Returns an exit code."""
        loop = asyncio.get_running_loop()
        self._sampler.start(lambda: loop.call_soon_threadsafe(self._has_sampled.set))
        looking = asyncio.create_task(self._look(), name="discovery")
        talking = asyncio.create_task(self._talk(), name="connection")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        tasks = (looking, talking, stopping)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping")
        finally:
            self._sampler.stop()
            ending = (*tasks, *self._acting)
            for task in ending:
                task.cancel()
            await asyncio.wait(ending)
        # Raises the exception of a task that failed.
        if not looking.cancelled():
            looking.result()
        return 0 if talking.cancelled() else talking.result()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        look_s = 0.0
        while True:
            began_s = loop.time()
            known = self._discovery.servers
            if began_s >= look_s:
                look_s = began_s + self._settings.interval_s
                await self._discovery.look(self._clock.now_ms())
                self._has_looked.set()
            else:
                await self._discovery.glance()
            if self._discovery.servers is not known:
                self._wake()
            next_s = min(began_s + _GLANCE_S, look_s)
            await asyncio.sleep(max(0.0, next_s - loop.time()))

    def _wake(self) -> None:
        """Makes the conversation report changes now instead of waiting for the hub."""
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    def _act(self, conversation: Conversation) -> None:
        """Carries out the requested actions in tasks beside the conversation."""
        for action in conversation.take_actions():
            task = asyncio.create_task(
                self._carry_out(action, conversation), name=f"action {action.action_id}"
            )
            self._acting.add(task)
            task.add_done_callback(self._acting.discard)

    async def _carry_out(self, action: LocalAction, conversation: Conversation) -> None:
        result = await self._actions.run(action)
        log.info("%s: %s", action, result.get("detail", result["outcome"]))
        conversation.add_result(result)
        self._wake()

    async def _talk(self) -> int:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_S):
                await self._has_looked.wait()
                await self._has_sampled.wait()
        while True:
            ending, identified_for_ms = await self._connect()
            if ending.is_replaced and not self._settings.keeps_trying_when_replaced:
                log.error(
                    "%s: two sidecars share one token, or an old one is running; stopping",
                    ending.reason,
                )
                return REPLACED_EXIT
            delay_ms = self._backoff.delay_ms(ending, identified_for_ms)
            log.warning("%s; trying again in %.1f s", ending.reason, delay_ms / 1000)
            await asyncio.sleep(delay_ms / 1000)

    async def _connect(self) -> tuple[Ending, int | None]:
        """Opens one connection; returns how it ended and for how long it was identified."""
        settings, url = self._settings, self._settings.hub_url
        is_tls = url.startswith("wss:")
        try:
            token = settings.token_source.read()
            async with connect(
                url,
                # Read for every connection, because certificates are renewed meanwhile.
                ssl=settings.tls_files.context() if is_tls else None,
                compression=None,
                max_size=_MAX_FRAME_BYTES,
                open_timeout=_OPEN_TIMEOUT_S,
                ping_interval=_KEEPALIVE_S,
                ping_timeout=_KEEPALIVE_S,
                close_timeout=_CLOSE_TIMEOUT_S,
            ) as connection:
                log.info("connected to %s", url)
                return await self._converse(connection, token)
        except SettingsError as error:
            return Ending(str(error), REFUSED_WAIT_MS), None
        except TlsFilesError as error:
            return Ending(f"--tls-{error.option}: {error}", REFUSED_WAIT_MS), None
        except InvalidStatus as error:
            status = error.response.status_code
            return Ending(f"{url} answers HTTP {status}, not WebSocket"), None
        except (OSError, InvalidHandshake) as error:
            reason = _why_no_hub(error, settings.tls_files.cert, is_tls=is_tls)
            return Ending(f"no hub at {url}: {reason}"), None

    async def _converse(
        self, connection: ClientConnection, token: str
    ) -> tuple[Ending, int | None]:
        settings, now_ms = self._settings, self._clock.now_ms
        conversation = Conversation(
            Identity(settings.agent_id, token, settings.name, settings.allows_actions),
            self._discovery.servers,
            interval_ms=round(settings.interval_s * 1000),
            now_ms=now_ms(),
        )
        try:
            while conversation.ending is None:
                self._act(conversation)
                while frame := conversation.next_frame(
                    self._sampler.fresh(), self._discovery.servers, now_ms()
                ):
                    await connection.send(json.dumps(frame, separators=(",", ":")))
                wait_s = max(0, conversation.wake_ms - now_ms()) / 1000
                try:
                    async with asyncio.timeout(wait_s) as self._waiting:
                        conversation.receive(await connection.recv(), now_ms())
                except TimeoutError:
                    continue
                finally:
                    self._waiting = None
            ending = conversation.ending
        except ConnectionClosed:
            reason = connection.close_reason or ""
            ending = ending_of_close(connection.close_code, reason)
        since_ms = conversation.identified_at_ms
        return ending, None if since_ms is None else now_ms() - since_ms


def _why_no_hub(error: OSError | InvalidHandshake, cert: str, *, is_tls: bool) -> str:
    """Explains a failed attempt to connect; `cert` is the file of the own certificate."""
    match error:
        case TimeoutError():
            return f"no answer within {_OPEN_TIMEOUT_S:g} s"
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not trusted: {error.verify_message}; "
                "name its authority with --tls-ca"
            )
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        # With TLS 1.3 a server checks the client's certificate after the handshake.
        case InvalidMessage() if is_tls and isinstance(error.__cause__, EOFError):
            if cert:
                return f"it closes the TLS connection; it may not accept {cert}"
            return "it closes the TLS connection; it may require a certificate (--tls-cert)"
        case InvalidMessage() if not is_tls:
            return f"{error}; if it uses TLS, write wss://"
        case ConnectionResetError() if is_tls:
            return "connection reset; if it does not use TLS, write ws://"
        case OSError():
            return why(error)
    return str(error)


REDACTED = "[redacted]"


class _Formatter(logging.Formatter):
    @staticmethod
    def converter(seconds: float | None) -> time.struct_time:
        return time.gmtime(seconds)

    def __init__(self, secret: Callable[[], str | None]) -> None:
        super().__init__("%(asctime)sZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self._secret = secret

    def format(self, record: logging.LogRecord) -> str:
        # Redacts the whole line with its traceback, so that no caller can forget it.
        line = super().format(record)
        secret = self._secret()
        return line.replace(secret, REDACTED) if secret else line


def configure_log(
    level: str, secret: Callable[[], str | None], stream: TextIO | None = None
) -> None:
    """Logs to `stream` (stderr by default), without the text that `secret` returns."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(_Formatter(secret))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # At level "debug" it logs whole frames, including the token.
    logging.getLogger("websockets").setLevel(logging.WARNING)
