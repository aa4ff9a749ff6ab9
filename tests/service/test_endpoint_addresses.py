import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from hub.service import endpoint_addresses
from hub.service.endpoint_addresses import EndpointAddresses, is_numeric
from llmhub.v1.endpoint_pb2 import Endpoint
from tests.support.waiting import wait_until


class Names:
    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}
        self.asked: list[str] = []

    async def resolve(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        if name not in self.found:
            raise OSError("no such name")
        return self.found[name]


@pytest.mark.parametrize(
    ("host", "address"),
    [("10.0.0.1", "10.0.0.1:8"), ("::1", "[::1]:8"), ("fe80::1%eth0", "[fe80::1%eth0]:8")],
)
async def test_numbers_need_no_lookup(host, address):
    names = Names()
    assert EndpointAddresses(names.resolve).of(Endpoint(host=host, port=8)) == address
    assert is_numeric(host)
    assert not names.asked


async def test_a_name_is_looked_up_when_it_is_asked_for_and_kept_when_it_fails():
    names = Names()
    names.found["gpu.lan"] = ["fd00::1", "10.0.0.7"]
    addresses = EndpointAddresses(names.resolve)
    endpoint = Endpoint(host="gpu.lan", port=8)
    running = asyncio.create_task(addresses.run())
    try:
        assert addresses.of(endpoint) is None
        await wait_until(lambda: addresses.of(endpoint) == "10.0.0.7:8")
        del names.found["gpu.lan"]
        assert addresses.of(Endpoint(host="other.lan", port=1)) is None
        await wait_until(lambda: "other.lan" in names.asked)
        assert addresses.of(endpoint) == "10.0.0.7:8"
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_the_names_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint_addresses, "MAX_NAMES", 3)
    addresses = EndpointAddresses(Names().resolve)
    for i in range(10):
        addresses.of(Endpoint(host=f"h{i}.lan", port=1))
    assert list(addresses._known) == ["h7.lan", "h8.lan", "h9.lan"]
