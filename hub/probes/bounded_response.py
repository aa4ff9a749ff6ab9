"""Connections of the probe client that bound what a server sends before its final head.

aiohttp reads informational responses (1xx) for as long as a server sends them. A server
that never stops costs a whole core until the probe's deadline.
"""

import asyncio
import functools
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from hub.probes.faults import BadAnswer

MAX_HEAD_BYTES: Final = 16_384
"""Maximum bytes from the request to the end of the final head, with informational responses."""


class BoundedConnector(aiohttp.TCPConnector):
    """Makes connections that close if the bytes before a final head exceed the bound."""

    # Any: the arguments are those of TCPConnector.
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # aiohttp has no public way to choose the protocol of a connection.
        # mypy considers a partial of a subclass to be another type.
        self._factory = functools.partial(  # type: ignore[assignment]
            BoundedResponses, asyncio.get_running_loop()
        )


class BoundedResponses(ResponseHandler):
    """One connection to a probed server."""

    _unbounded = False
    _room = MAX_HEAD_BYTES

    # Any: the arguments are those of ResponseHandler.
    def set_response_params(self, **params: Any) -> None:
        """See `ResponseHandler`. Begins a request."""
        self._room = MAX_HEAD_BYTES
        self._unbounded = False
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. Counts everything except the body of a requested answer."""
        if self._unbounded or self.transport is None:
            super().data_received(data)
            return
        head, rest = data[: self._room], data[self._room :]
        self._room -= len(head)
        super().data_received(head)
        if not rest:
            return
        if self._unbounded:
            super().data_received(rest)
        elif self.transport is not None:
            self.transport.abort()
            self.set_exception(
                BadAnswer(f"sent more than {MAX_HEAD_BYTES:,} bytes before the head of its answer")
            )

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """See `DataQueue`. Drops informational responses, which no request expects."""
        message, payload = data
        if 100 <= message.code < 200 and message.code != 101:
            return
        if payload is not EMPTY_PAYLOAD:
            self._unbounded = True
            payload.on_eof(self._body_ended)
        super().feed_data(data, size)

    def _body_ended(self) -> None:
        self._unbounded = False
