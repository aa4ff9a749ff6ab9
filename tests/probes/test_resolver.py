import asyncio
import socket
import threading

import pytest

from hub.probes import resolver
from hub.probes.resolver import ProbeResolver


async def test_a_name_resolves_to_numeric_addresses():
    names = ProbeResolver()
    found = await names.resolve("localhost")
    await names.close()
    assert found
    assert set(found) <= {(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")}


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 300, "bad\udc80name"])
async def test_an_invalid_name_raises_os_error(name: str):
    names = ProbeResolver()
    with pytest.raises(OSError, match=r"."):
        await names.resolve(name)
    await names.close()


async def test_hanging_names_do_not_block_others(monkeypatch: pytest.MonkeyPatch):
    release = threading.Event()
    look_up = resolver._look_up

    def hang_on_dead(host: str):
        if host.startswith("dead"):
            release.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return look_up(host)

    monkeypatch.setattr(resolver, "_look_up", hang_on_dead)
    names = ProbeResolver(threads=4, threads_for_failed=1)
    # The first lookups of three dead names hang, and so do their repetitions.
    hanging = [asyncio.create_task(names.resolve(f"dead{n}")) for n in range(3)]
    await asyncio.sleep(0)
    hanging += [asyncio.create_task(names.resolve(f"dead{n}")) for n in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await names.resolve("localhost")
    assert not any(task.done() for task in hanging)
    release.set()
    outcomes = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(outcome, OSError) for outcome in outcomes)
    await names.close()


async def test_a_numeric_address_is_its_own_answer():
    names = ProbeResolver(threads=0, threads_for_failed=0)
    assert await names.resolve("127.0.0.9") == [(socket.AF_INET, "127.0.0.9")]
    assert await names.resolve("::1") == [(socket.AF_INET6, "::1")]
    await names.close()


async def test_lookups_of_one_name_are_joined_and_their_answer_is_cached(
    monkeypatch: pytest.MonkeyPatch,
):
    looked_up: list[str] = []
    release = threading.Event()

    def slow(host: str) -> list[resolver.ResolvedAddress]:
        looked_up.append(host)
        release.wait(20)
        return [(socket.AF_INET, "127.0.0.1")]

    monkeypatch.setattr(resolver, "_look_up", slow)
    names = ProbeResolver()
    callers = [asyncio.create_task(names.resolve("one.example")) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    release.set()
    async with asyncio.timeout(10):
        found = await asyncio.gather(*callers[1:])
        assert await names.resolve("one.example") == found[0]
    assert looked_up == ["one.example"]
    await names.close()


async def test_an_expired_answer_is_looked_up_again(monkeypatch: pytest.MonkeyPatch):
    looked_up: list[str] = []

    def again(host: str) -> list[resolver.ResolvedAddress]:
        looked_up.append(host)
        return [(socket.AF_INET, f"127.0.0.{len(looked_up)}")]

    monkeypatch.setattr(resolver, "_look_up", again)
    monkeypatch.setattr(resolver, "CACHED_S", 0.0)
    names = ProbeResolver()
    assert await names.resolve("one.example") == [(socket.AF_INET, "127.0.0.1")]
    assert await names.resolve("one.example") == [(socket.AF_INET, "127.0.0.2")]
    await names.close()
