from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.support.hub import RunningHub, running_hub
from tests.support.screen import CHROMIUM, Screen, chromium, screen
from tools.fleetsim import Fleet


@pytest.fixture
async def hub(tmp_path) -> AsyncIterator[RunningHub]:
    # Probes every second, so that changes of a server are visible soon.
    async with running_hub(tmp_path / "data", probes={"interval_s": 1}) as running:
        yield running


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with Fleet() as running:
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: the dashboard was not tested")
    async with chromium() as running:
        yield running


@pytest.fixture
async def signed_in(browser, hub) -> AsyncIterator[Screen]:
    """The dashboard, signed in as an admin."""
    async with screen(browser, hub) as shown:
        await shown.sign_in()
        yield shown
