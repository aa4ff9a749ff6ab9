from collections.abc import AsyncIterator

import pytest

from tests.support.hub import HubProcess, RunningHub, hub_process, running_hub
from tools.fleetsim import Fleet


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with Fleet() as made:
        yield made


@pytest.fixture
async def hub(tmp_path) -> AsyncIterator[RunningHub]:
    async with running_hub(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def process(tmp_path) -> AsyncIterator[HubProcess]:
    async with hub_process(tmp_path / "data") as started:
        yield started
