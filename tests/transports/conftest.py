from collections.abc import AsyncIterator

import pytest

from tests.support.hub import RunningHub, running_hub
from tests.support.service import ServiceRig, service_rig


@pytest.fixture
async def hub(tmp_path) -> AsyncIterator[RunningHub]:
    # An endpoint is probed when it is registered and then, as far as a test goes, no more.
    async with running_hub(tmp_path / "data", probes={"interval_s": 600}) as running:
        yield running


@pytest.fixture
async def rig(tmp_path) -> AsyncIterator[ServiceRig]:
    async with service_rig(tmp_path) as made:
        yield made
