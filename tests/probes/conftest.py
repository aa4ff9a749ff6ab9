from collections.abc import AsyncIterator

import pytest

from tests.support.llama import tiny_model
from tools.fleetsim import Fleet

__all__ = ["tiny_model"]


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with Fleet() as running:
        yield running
