"""The channel to a hub: calls with retries and one deadline, listings, resumed streams."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from random import Random
from time import monotonic
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from hub.client._async_runtime import Stop, open_channel, responses_of
from hub.client.call_errors import call_failed
from hub.client.hub_address import METHODS, Target, Tls
from hub.client.retry import Backoff, Resumption, Retry, ends_a_watch
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest, WatchRegistryResponse

PAGE_SIZE: int = 1000
"""The number of items of a listing that one call fetches."""


class AsyncConnection:
    """A channel to a hub. Use it as a context manager."""

    def __init__(
        self,
        address: str | None = None,
        token: str | None = None,
        *,
        tls: Tls | None = None,
        timeout_s: float = 10.0,
        retry: Retry | None = None,
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._target = Target.of(address, token, tls, channel_options)
        self._timeout_s = timeout_s
        self._retry = retry or Retry()
        self._random = Random()  # noqa: S311 - spreads retries
        self._stop = Stop()
        self._channel = open_channel(self._target)
        self._calls: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """The hub's address, HOST:PORT."""
        return self._target.address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls and watches. Idempotent."""
        self._stop.cancel()
        await self._channel.close()

    async def call(self, name: str, request: Message, timeout_s: float | None = None) -> Any:
        """Calls a unary RPC of RegistryService or AdminService by its name.

        Retries while the hub is UNAVAILABLE, for at most `timeout_s` seconds. The
        response is of the RPC's type in the contract, which the annotation cannot
        express. Raises CallFailed.
        """
        call = self._calls.get(name)
        if call is None:
            method = METHODS[name]
            call = self._calls[name] = self._channel.unary_unary(
                method.path, method.request.SerializeToString, method.response.FromString
            )
        deadline = monotonic() + (timeout_s or self._timeout_s)
        backoff = Backoff(self._retry, self._random)
        while True:
            left_s = deadline - monotonic()
            try:
                return await call(request, timeout=left_s, metadata=self._target.metadata)
            except grpc.RpcError as error:
                failed = call_failed(error)
            pause_s = backoff.before_retry_s(name, failed, deadline - monotonic())
            if pause_s is None or await self._stop.wait(pause_s):
                raise failed

    async def _items(self, name: str, request: Any, field: str) -> AsyncIterator[Any]:
        """The items of a listing, from the `field` of one page after another."""
        request.page_size = PAGE_SIZE
        while True:
            page = await self.call(name, request)
            for item in getattr(page, field):
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _responses(
        self, resumption: Resumption, stop: Stop, *, resume: bool = True
    ) -> AsyncGenerator[WatchRegistryResponse | None, None]:
        """The responses of one connection after another; None marks a lost connection.

        Without `resume` the first break ends it. Raises CallFailed.
        """
        self._stop.add(stop)
        call = self._channel.unary_stream(
            METHODS["WatchRegistry"].path,
            WatchRegistryRequest.SerializeToString,
            WatchRegistryResponse.FromString,
        )

        def start() -> Any:
            return call(resumption.connect(), metadata=self._target.metadata)

        backoff = Backoff(self._retry, self._random)
        while not stop.is_set():
            try:
                async with aclosing(responses_of(start, stop)) as responses:
                    async for response in responses:
                        backoff.reset()
                        yield response
            except grpc.RpcError as error:
                failed = call_failed(error)
                if not resume or ends_a_watch(failed):
                    raise failed from None
                if failed.code is grpc.StatusCode.OUT_OF_RANGE:
                    resumption.forget()
            if not resume:
                return
            yield None
            await stop.wait(backoff.pause_s())
