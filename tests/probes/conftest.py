import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.support.llama import tiny_model
from tools.fleetsim import Fleet

__all__ = ["tiny_model"]

# Their modules meet the transports of both loops; the hub itself runs on uvloop.
ON_BOTH_LOOPS = {
    "test_bounded_response.py",
    "test_connection_pool.py",
    "test_probe_client.py",
    "test_probe_connection.py",
}


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop
    }
    if item.path.name in ON_BOTH_LOOPS:
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with Fleet() as running:
        yield running
