"""Tasks that live as long as the hub: their end is always logged."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()


# Any: what the task returns is of no interest.
def tell_of_end(task: asyncio.Task[Any], on_end: Callable[[], None]) -> None:
    """Logs a task that ends without having been cancelled, and calls `on_end`."""

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            log.error("a task ended unforeseen", task=task.get_name(), exc_info=task.exception())
            on_end()

    task.add_done_callback(ended)
