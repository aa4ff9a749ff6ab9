import asyncio
import socket
import threading

import pytest

from hub.probes import resolver
from hub.probes.resolver import ProbeResolver


async def test_a_name_resolves_to_numeric_addresses():
    names = ProbeResolver()
    found = await names.resolve("localhost", 80)
    await names.close()
    assert {result["host"] for result in found} <= {"127.0.0.1", "::1"}
    assert found
    assert all(result["port"] == 80 for result in found)


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 300, "bad\udc80name"])
async def test_an_invalid_name_raises_os_error(name: str):
    names = ProbeResolver()
    with pytest.raises(OSError, match=r"."):
        await names.resolve(name, 80)
    await names.close()


async def test_hanging_names_do_not_block_others(monkeypatch: pytest.MonkeyPatch):
    release = threading.Event()
    look_up = resolver._look_up

    def hang_on_dead(host: str, port: int, family: socket.AddressFamily):
        if host.startswith("dead"):
            release.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return look_up(host, port, family)

    monkeypatch.setattr(resolver, "_look_up", hang_on_dead)
    names = ProbeResolver(threads=4, threads_for_failed=1)
    # The first lookups of three dead names hang, and so do their repetitions.
    hanging = [asyncio.create_task(names.resolve(f"dead{n}", 80)) for n in range(3)]
    await asyncio.sleep(0)
    hanging += [asyncio.create_task(names.resolve(f"dead{n}", 80)) for n in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await names.resolve("localhost", 80)
    assert not any(task.done() for task in hanging)
    release.set()
    outcomes = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(outcome, OSError) for outcome in outcomes)
    await names.close()
