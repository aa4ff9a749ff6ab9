"""Which connections are kept, and for how long."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from hub.base.settings import ProbeSettings
from hub.probes import connection_pool
from hub.probes.address_policy import AddressPolicy, ForbiddenAddress
from hub.probes.asker import ProbeTarget
from hub.probes.bounded_response import BoundedResponse
from hub.probes.connection_pool import KEEPALIVE_S, ConnectionPool, ConnectTimeout
from hub.probes.probe_connection import ProbeConnection
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, Fleet

DEFAULTS = ProbeSettings()
REQUEST = b"GET /api/version HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.asynccontextmanager
async def pooling(policy: AddressPolicy | None = None) -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool(policy or AddressPolicy(), connect_timeout_s=5)
    try:
        yield pool
    finally:
        await pool.close()


def at(host: str, port: int) -> ProbeTarget:
    return ProbeTarget(f"{host}:{port}", "http", host, port)


async def ask(pool: ConnectionPool, target: ProbeTarget, connection: ProbeConnection) -> None:
    response = BoundedResponse("/", 1000, lambda: None)
    await connection.exchange(REQUEST, response, asyncio.Semaphore(1))
    assert response.status == 200
    pool.put_back(target, connection)


async def test_a_connection_is_kept_only_for_its_own_address(fleet: Fleet):
    one, other = await fleet.add(FakeOllama()), await fleet.add(FakeOllama())
    target = at(one.host, one.port)
    async with pooling() as pool:
        assert pool.take_idle(target) is None
        connection = await pool.connect(target)
        assert pool.take_idle(target) is None
        await ask(pool, target, connection)
        assert pool.take_idle(at(other.host, other.port)) is None
        assert pool.take_idle(target) is connection
        assert pool.take_idle(target) is None


async def test_a_connection_that_the_server_closed_is_not_used(fleet: Fleet):
    server = await fleet.add(FakeOllama())
    target = at(server.host, server.port)
    async with pooling() as pool:
        connection = await pool.connect(target)
        await ask(pool, target, connection)
        fleet.cut(server)
        await wait_until(lambda: not connection.is_open)
        assert pool.take_idle(target) is None


async def test_an_idle_connection_is_closed_after_its_time(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection_pool, "KEEPALIVE_S", 0.01)
    server = await fleet.add(FakeOllama())
    target = at(server.host, server.port)
    async with pooling() as pool:
        for _ in range(2):
            await ask(pool, target, await pool.connect(target))
        await server.wait_until(lambda: server.open_connections == 0)
        assert pool.take_idle(target) is None


async def test_retired_connections_end_after_their_exchange(fleet: Fleet):
    server = await fleet.add(FakeOllama())
    target = at(server.host, server.port)
    async with pooling() as pool:
        idle, busy = await pool.connect(target), await pool.connect(target)
        await ask(pool, target, idle)
        pool.retire()
        assert not idle.is_open
        await ask(pool, target, busy)
        assert not busy.is_open
        later = await pool.connect(target)
        await ask(pool, target, later)
        assert later.is_open


async def test_closing_ends_idle_and_busy_connections(fleet: Fleet):
    server = await fleet.add(FakeOllama())
    target = at(server.host, server.port)
    async with pooling() as pool:
        await ask(pool, target, await pool.connect(target))
        await pool.connect(target)
        assert server.open_connections > 0
    await server.wait_until(lambda: server.open_connections == 0)


async def test_the_policy_checks_the_address_of_the_connection(fleet: Fleet):
    server = await fleet.add(FakeOllama())
    denied = AddressPolicy(deny=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
    async with pooling(denied) as pool:
        for host in (server.host, "localhost"):
            with pytest.raises(ForbiddenAddress):
                await pool.connect(at(host, server.port))
    assert server.connections == 0


async def test_the_first_address_of_a_name_that_answers_is_used(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    async def two_addresses(_: object, host: str) -> list[tuple[socket.AddressFamily, str]]:
        assert host == "two.example"
        return [(socket.AF_INET, "127.0.0.9"), (socket.AF_INET, server.host)]

    monkeypatch.setattr(connection_pool.ProbeResolver, "resolve", two_addresses)
    server = await fleet.add(FakeOllama())
    async with pooling() as pool:
        target = at("two.example", server.port)
        connection = await pool.connect(target)
        await ask(pool, target, connection)
        assert connection.address == server.host


async def test_a_connection_that_is_not_established_in_time_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
):
    async def never(_: object, __: str) -> list[tuple[socket.AddressFamily, str]]:
        await asyncio.get_running_loop().create_future()
        return []

    monkeypatch.setattr(connection_pool.ProbeResolver, "resolve", never)
    pool = ConnectionPool(AddressPolicy(), connect_timeout_s=0.01)
    with pytest.raises(ConnectTimeout):
        await pool.connect(at("slow.example", 80))
    await pool.close()


def test_a_connection_outlives_the_longest_interval():
    assert DEFAULTS.interval_s * (1 + DEFAULTS.jitter) < KEEPALIVE_S
