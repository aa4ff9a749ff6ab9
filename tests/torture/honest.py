"""Honest clients of all three transports, and how long each of their calls takes.

Each transport has a thread and blocking sockets: the clients take so little of the machine
that what they measure is the hub.
"""

import contextlib
import http.client
import itertools
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

import grpc

from benchmarks.ws_client import PING, identify_frame, texts, upgrade
from hub.contract import rpcs
from llmhub.v1.registry_service_pb2 import ListEndpointsRequest
from tests.support.hub import REGISTRY_PATH
from tests.torture.attacks.target import Target

_PAGE = 50
_PERIOD_S = 0.01
_CALL_S = 5.0
_NEW_EVERY = 50
"""After so many calls a client connects again, as one that has just started would."""


LOWER = 10
"""By how many steps of nice an attacker is below the hub and its honest clients."""


def prefer(pid: int) -> None:
    """Gives a process, or this thread for 0, the priority of a quiet machine, if root allows."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, -LOWER)


class Client(ABC, threading.Thread):
    """Calls at a steady pace until `stop`; `take` returns what it has seen since the last time."""

    transport: str

    def __init__(self, target: Target) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._stopping = threading.Event()
        self._times: list[float] = []
        self._failures: list[str] = []
        self._numbers = itertools.count()

    def run(self) -> None:
        prefer(0)
        due = time.perf_counter()
        while not self._stopping.wait(max(0.0, due - time.perf_counter())):
            due = max(due + _PERIOD_S, time.perf_counter() - 10 * _PERIOD_S)
            number = next(self._numbers)
            try:
                if number % _NEW_EVERY == 0:
                    self.connect(number // _NEW_EVERY)
                began = time.perf_counter()
                self.call(number)
                self._times.append((time.perf_counter() - began) * 1e3)
            except (OSError, http.client.HTTPException, grpc.RpcError, Refused) as error:
                self._failures.append(f"{self.transport}: {error!r}"[:120])
                with contextlib.suppress(OSError, grpc.RpcError, Refused):
                    self.connect(number)
        self.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def take(self) -> tuple[list[float], list[str]]:
        """The milliseconds of each call, and the failures."""
        taken = self._times, self._failures
        self._times, self._failures = [], []
        return taken

    @abstractmethod
    def connect(self, number: int) -> None:
        """Leaves the connection that there is, and makes a new one."""

    @abstractmethod
    def call(self, number: int) -> None:
        """Makes one call."""

    @abstractmethod
    def close(self) -> None:
        """Closes the connections."""


class Refused(Exception):
    """The hub answered something else than was expected."""


class GrpcClient(Client):
    """Lists endpoints over gRPC."""

    transport = "gRPC"

    def __init__(self, target: Target, token: str) -> None:
        super().__init__(target)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._request = ListEndpointsRequest(page_size=_PAGE).SerializeToString()
        self._channel: grpc.Channel | None = None

    def connect(self, number: int) -> None:
        self.close()
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(self._target.grpc, options)
        self._list = self._channel.unary_unary(rpcs.rpc("ListEndpoints").path)
        self.call(number)

    def call(self, number: int) -> None:
        if not self._list(self._request, metadata=self._metadata, timeout=_CALL_S):
            raise Refused("an empty answer")

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()


class HttpClient(Client):
    """Lists endpoints over HTTP."""

    transport = "HTTP"

    def __init__(self, target: Target, token: str) -> None:
        super().__init__(target)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._connection: http.client.HTTPConnection | None = None

    def connect(self, number: int) -> None:
        self.close()
        self._connection = http.client.HTTPConnection(self._target.http, timeout=_CALL_S)
        self._connection.connect()

    def call(self, number: int) -> None:
        assert self._connection is not None
        path = f"{REGISTRY_PATH}?page_size={_PAGE}"
        self._connection.request("GET", path, headers=self._headers)
        with self._connection.getresponse() as response:
            body = response.read()
        if response.status != 200:
            raise Refused(f"{response.status} {body[:60]!r}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class SidecarClient(Client):
    """Sidecars that ping in turn, each below its rate limit; now and then one returns."""

    transport = "WebSocket"

    def __init__(self, target: Target, agents: Sequence[tuple[str, str]]) -> None:
        super().__init__(target)
        self._identifies = [identify_frame(*agent) for agent in agents]
        self._sockets = [self._open(number) for number in range(len(agents))]

    def _open(self, number: int) -> socket.socket:
        host, _, port = self._target.ws.rpartition(":")
        opened = socket.create_connection((host, int(port)), timeout=_CALL_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.sendall(upgrade("/ws"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (part := opened.recv(4_096)):
                raise Refused(f"the handshake ended after {head!r}")
            head += part
        if b" 101 " not in head:
            raise Refused(head[:60].decode())
        opened.sendall(self._identifies[number])
        if b'"identified"' not in (answer := opened.recv(4_096)):
            raise Refused(answer[:80].decode(errors="replace"))
        return opened

    def connect(self, number: int) -> None:
        at = number % len(self._sockets)
        self._sockets[at].close()
        self._sockets[at] = self._open(at)

    def call(self, number: int) -> None:
        at = self._sockets[number % len(self._sockets)]
        at.sendall(PING)
        while not (answers := texts(at, at.recv(4_096))):
            pass
        if b'"pong"' not in answers[0]:
            raise Refused(answers[0][:80].decode())

    def close(self) -> None:
        for each in self._sockets:
            each.close()
