"""The numeric addresses of endpoints, as gateways need them: Envoy resolves no names of a set."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from hub.base.address import join_host_port
from llmhub.v1.endpoint_pb2 import Endpoint

EVERY_S: Final = 30.0
"""How often each name is resolved again, in seconds."""

MAX_NAMES: Final = 16_384
"""How many names are kept; those that were asked for longest ago are forgotten."""

_AT_ONCE: Final = 16

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Resolves a name to the numeric addresses that the hub may connect to. Raises OSError."""


class EndpointAddresses:
    """Answers at once from memory, and resolves names in a task of its own.

    A name keeps its last address while it does not resolve, because a name server that
    does not answer is no reason to send no requests.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        # The names in the order in which they were last asked for; "" is not resolved yet.
        self._known: dict[str, str] = {}
        self._new = asyncio.Event()

    def of(self, endpoint: Endpoint) -> str | None:
        """The "ip:port" of an endpoint; None if its host's name is not resolved yet."""
        host = endpoint.host
        if is_numeric(host):
            return join_host_port(host, endpoint.port)
        found = self._known.pop(host, None)
        if found is None:
            self._new.set()
            if len(self._known) >= MAX_NAMES:
                del self._known[next(iter(self._known))]
        self._known[host] = found or ""
        return join_host_port(found, endpoint.port) if found else None

    async def run(self) -> None:
        """Resolves new names when they are asked for, and all again at intervals."""
        while True:
            self._new.clear()
            waiting = [name for name, found in self._known.items() if not found]
            await self._look_up(waiting or list(self._known))
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._new.wait()

    async def _look_up(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), _AT_ONCE):
            group = names[start : start + _AT_ONCE]
            found = await asyncio.gather(*map(self._first, group))
            for name, address in zip(group, found, strict=True):
                if address and name in self._known:
                    self._known[name] = address

    async def _first(self, name: str) -> str:
        """The address to connect to; "" if the name does not resolve. Prefers IPv4."""
        try:
            addresses = await self._resolve(name)
        except OSError:
            return ""
        return min(addresses, key=lambda each: ":" in each, default="")


@lru_cache(maxsize=16_384)
def is_numeric(host: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
