"""Waits, with a deadline, for an effect of another task, thread or process."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

_TURN_S = 0.005


async def wait_until(
    condition: Callable[[], object] | Callable[[], Awaitable[object]], timeout_s: float = 60.0
) -> None:
    """Returns once the condition holds; raises TimeoutError after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while True:
            held = condition()
            if inspect.isawaitable(held):
                held = await held
            if held:
                return
            await asyncio.sleep(_TURN_S)
