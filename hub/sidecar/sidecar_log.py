"""The sidecar's log: a line an event on stderr, without the token."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

REDACTED = "[redacted]"


class _Formatter(logging.Formatter):
    @staticmethod
    def converter(seconds: float | None) -> time.struct_time:
        return time.gmtime(seconds)

    def __init__(self, secret: Callable[[], str | None]) -> None:
        super().__init__("%(asctime)sZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self._secret = secret

    def format(self, record: logging.LogRecord) -> str:
        # The whole line with its traceback, so that no caller can forget to redact.
        line = super().format(record)
        secret = self._secret()
        return line.replace(secret, REDACTED) if secret else line


def configure(level: str, secret: Callable[[], str | None], stream: TextIO | None = None) -> None:
    """Logs to `stream` (stderr); `secret` tells what must never stand there."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(_Formatter(secret))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # At "debug" it shows whole frames, the token among them.
    logging.getLogger("websockets").setLevel(logging.WARNING)
