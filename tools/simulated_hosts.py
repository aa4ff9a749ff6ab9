"""Simulated hosts: their resources are random walks, and their sidecars send real frames.

A simulated sidecar uses the reference sidecar's own conversation over a real
WebSocket. Only the resources that it reports are invented.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from hub.sidecar.conversation import Conversation, Identity
from hub.sidecar.ending import Ending, ReconnectDelay, ending_of_close
from hub.sidecar.local_server import LocalServer

GIB = 1 << 30
_KINDS = (
    ("NVIDIA RTX 4090", 24 * GIB, 450.0),
    ("NVIDIA L40S", 48 * GIB, 350.0),
    ("NVIDIA H100 80GB HBM3", 80 * GIB, 700.0),
    ("AMD Instinct MI210", 64 * GIB, 300.0),
)


@dataclass(slots=True)
class Walk:
    """A share, 0 to 1, that drifts at random and tends to return to `home`."""

    random: random.Random
    home: float
    value: float = 0.0

    def __post_init__(self) -> None:
        self.value = self.home

    def step(self) -> float:
        """Takes one step; returns the new value."""
        if self.random.random() < 0.03:
            self.home = self.random.uniform(0.05, 0.95)
        drift = 0.15 * (self.home - self.value) + self.random.gauss(0.0, 0.04)
        self.value = min(max(self.value + drift, 0.01), 0.99)
        return self.value


@dataclass(slots=True)
class SimulatedHost:
    """A host with one or two accelerators."""

    agent_id: str
    random: random.Random
    loaded_bytes: Callable[[], int]
    ram_total: int = 64 * GIB
    gpu: tuple[str, int, float] = field(init=False)
    gpu_count: int = field(init=False)
    _cpu: Walk = field(init=False)
    _ram: Walk = field(init=False)
    _busy: Walk = field(init=False)

    def __post_init__(self) -> None:
        self.gpu = self.random.choice(_KINDS)
        self.gpu_count = self.random.choice((1, 1, 2))
        self._cpu, self._ram, self._busy = (
            Walk(self.random, self.random.uniform(0.1, 0.8)) for _ in range(3)
        )

    def read(self) -> dict[str, object]:
        """The fields of the next `resource_report`."""
        name, vram, watts = self.gpu
        whole = vram * self.gpu_count
        busy = self._busy.step()
        used = min(whole, self.loaded_bytes() + GIB + int(busy * 2 * GIB))
        return {
            "cpu_percent": round(100 * self._cpu.step(), 1),
            "ram_used_bytes": int(self._ram.step() * self.ram_total),
            "ram_total_bytes": self.ram_total,
            "vram_used_bytes": used,
            "vram_total_bytes": whole,
            "gpus": [
                {
                    "index": index,
                    "name": name,
                    "utilization_percent": round(100 * busy, 1),
                    "vram_used_bytes": used // self.gpu_count,
                    "vram_total_bytes": vram,
                    "temperature_celsius": round(35 + 45 * busy, 1),
                    "power_watts": round(watts * (0.15 + 0.8 * busy), 1),
                }
                for index in range(self.gpu_count)
            ],
        }


class SimulatedSidecar:
    """Reports a simulated host until it is cancelled; reconnects after the hub restarts."""

    def __init__(
        self, host: SimulatedHost, token: str, servers: tuple[LocalServer, ...], interval_s: float
    ) -> None:
        self._host = host
        self._identity = Identity(host.agent_id, token)
        self._servers = servers
        self._interval_ms = round(interval_s * 1000)
        self._connection: ClientConnection | None = None

    async def run(self, url: str) -> None:
        """Keeps a connection to the hub's WebSocket server."""
        backoff = ReconnectDelay(random.random)
        while True:
            try:
                async with connect(url, compression=None, close_timeout=1) as connection:
                    self._connection = connection
                    ending = await self._converse(connection)
            except (OSError, TimeoutError, InvalidHandshake) as error:
                ending = Ending(str(error))
            self._connection = None
            await asyncio.sleep(backoff.delay_ms(ending, 60_000) / 1000)

    async def drop(self) -> None:
        """Closes the connection, as a network failure would."""
        if self._connection is not None:
            await self._connection.close(1001, "network hiccup")

    async def _converse(self, connection: ClientConnection) -> Ending:
        conversation = Conversation(
            self._identity, self._servers, interval_ms=self._interval_ms, now_ms=_now_ms()
        )
        try:
            while conversation.ending is None:
                sample = self._host.read() if _now_ms() >= conversation.wake_ms else None
                while frame := conversation.next_frame(sample, self._servers, _now_ms()):
                    await connection.send(json.dumps(frame))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0, conversation.wake_ms - _now_ms()) / 1000):
                        conversation.receive(await connection.recv(), _now_ms())
        except ConnectionClosed:
            return ending_of_close(connection.close_code, connection.close_reason or "")
        return conversation.ending


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
