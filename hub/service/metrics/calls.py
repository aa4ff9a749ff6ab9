"""What the gRPC and HTTP transports record about each call: its outcome and its duration.

    with calls.rpc(called, metadata) as call:
        ...
        shown = call.fail(error)

records the call in the metrics and, if tracing is on, as a span. Every call gets a
request id, which the log adds to every event of its task.
"""

import time
from asyncio import CancelledError
from collections.abc import Mapping
from types import TracebackType
from typing import ClassVar, Final, Protocol, Self

import structlog
from google.rpc import code_pb2

from hub.base import request_id
from hub.contract.errors import HubError, InternalError
from hub.service.metrics.counts import Traffic

log = structlog.get_logger()

# A caller can send any method, and labels must come from a bounded set.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Called(Protocol):
    """A method of a gRPC service, of the contract or another's."""

    @property
    def name(self) -> str:
        """Its name, unique among all methods."""
        ...

    @property
    def path(self) -> str:
        """Its HTTP/2 path."""
        ...

    @property
    def streams(self) -> bool:
        """Whether either side streams."""
        ...


class Span(Protocol):
    """A call in a trace."""

    def end(self, attributes: Mapping[str, str], *, failed: bool) -> None:
        """Ends the span now; `failed` means that the hub was at fault."""
        ...


class Tracer(Protocol):
    """Makes the spans of calls."""

    def start(self, name: str, carrier: Mapping[str, str]) -> Span:
        """A span that starts now, in the trace that the caller's headers name."""
        ...


class Call:
    """One call; it ends with its `with` block."""

    __slots__ = ("_number", "_span", "_started", "_traffic", "code", "reason")

    transport: ClassVar[str]
    """The transport that it came by."""

    def __init__(self, traffic: Traffic, span: Span | None) -> None:
        self._started = time.perf_counter()
        self._traffic = traffic
        self._span = span
        self._number = request_id.begin()
        self.code = "OK"
        self.reason = ""

    @property
    def name(self) -> str:
        """What was called."""
        raise NotImplementedError

    @property
    def request_id(self) -> str:
        """The request id, which the caller gets if the hub fails."""
        return request_id.text(self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if kind is not None and issubclass(kind, CancelledError | GeneratorExit):
            self.code = "CANCELLED"
        self.end()

    def end(self) -> None:
        """Records the call; for a caller that does not use `with`."""
        if self.reason:
            self._traffic.errors[self.transport, self.reason] += 1
        self._count(time.perf_counter() - self._started)
        if self._span is not None:
            attributes = self._attributes() | {"llmhub.request_id": self.request_id}
            if self.reason:
                attributes["llmhub.reason"] = self.reason
            self._span.end(attributes, failed=self.reason == "INTERNAL")

    def fail(self, error: Exception) -> HubError:
        """Returns the error for the caller. Logs an unexpected one under the request id."""
        if not isinstance(error, HubError):
            log.error("call failed", call=self.name, request_id=self.request_id, exc_info=error)
            error = InternalError(
                f"the hub failed; request id {self.request_id}",
                metadata={"request_id": self.request_id},
            )
        self.reason = error.reason_name
        self.code = code_pb2.Code.Name(error.code)
        return error

    def _count(self, seconds: float) -> None:
        """Records the call in the metrics."""
        raise NotImplementedError

    def _attributes(self) -> dict[str, str]:
        """The span's attributes, named as in OpenTelemetry's semantic conventions."""
        raise NotImplementedError


class RpcCall(Call):
    """A gRPC call."""

    __slots__ = ("_called",)
    transport = "grpc"

    def __init__(self, called: Called, traffic: Traffic, span: Span | None) -> None:
        super().__init__(traffic, span)
        self._called = called

    @property
    def name(self) -> str:
        """The path of the RPC."""
        return self._called.path

    def __enter__(self) -> Self:
        if self._called.streams:
            self._traffic.open_streams[self._called.name] += 1
        return self

    def _count(self, seconds: float) -> None:
        name = self._called.name
        if self._called.streams:
            self._traffic.open_streams[name] -= 1
            self._traffic.streams[name, self.code] += 1
        else:
            self._traffic.rpcs.observe((name, self.code), seconds)

    def _attributes(self) -> dict[str, str]:
        return {"rpc.system.name": "grpc", "rpc.response.status_code": self.code}


class HttpCall(Call):
    """An HTTP request."""

    __slots__ = ("_method", "_route", "_status", "_streamed", "_title")
    transport = "http"

    def __init__(self, method: str, route: str, traffic: Traffic, span: Span | None) -> None:
        super().__init__(traffic, span)
        self._title = f"{method} {route}"
        self._method = method if method in _METHODS else "other"
        self._route = route
        # Remains if the caller leaves before the answer.
        self._status = "gone"
        self._streamed = False

    @property
    def name(self) -> str:
        """The method and the route."""
        return self._title

    def answer(self, status: int, content_type: str) -> None:
        """Notes what was answered."""
        self._status = str(status)
        # Such a stream lasts as long as its page is open, which is not a latency.
        self._streamed = content_type == "text/event-stream"

    def _count(self, seconds: float) -> None:
        if self._streamed:
            self._traffic.event_streams[self._route] += 1
        else:
            self._traffic.requests.observe((self._method, self._route, self._status), seconds)

    def _attributes(self) -> dict[str, str]:
        return {
            "http.request.method": self._method,
            "http.route": self._route,
            "http.response.status_code": self._status,
        }


class Calls:
    """Counts and traces calls."""

    def __init__(self, traffic: Traffic, tracer: Tracer | None = None) -> None:
        self._traffic = traffic
        self._tracer = tracer
        self.refusals = traffic.refusals

    def rpc(self, called: Called, metadata: Mapping[str, str]) -> RpcCall:
        """A gRPC call that begins now."""
        span = None if self._tracer is None else self._span(called.path, metadata)
        return RpcCall(called, self._traffic, span)

    def http(self, method: str, route: str, headers: Mapping[str, str]) -> HttpCall:
        """An HTTP request that begins now; `route` is the template, not the path."""
        return HttpCall(method, route, self._traffic, self._span(f"{method} {route}", headers))

    def turned_away(self) -> None:
        """Counts an HTTP connection that was refused because there were too many."""
        self._traffic.http_turned_away += 1

    def _span(self, name: str, carrier: Mapping[str, str]) -> Span | None:
        if self._tracer is None:
            return None
        # The span of an RPC is called "service/method", without the slash before.
        return self._tracer.start(name.removeprefix("/"), carrier)
