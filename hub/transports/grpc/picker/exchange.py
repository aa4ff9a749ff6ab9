"""One HTTP request on its way through a gateway: messages in, messages out, no sockets.

    headers ─► hold the body ─► the model is read ─► pick ─► headers, then the body ─► response

In the mode FULL_DUPLEX_STREAMED the gateway waits for no answer, so the headers are answered
when the model is known, and the rest of the body passes through as it comes.
"""

from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Final

from hub.contract.errors import HubError
from hub.service.access.caller import Caller
from hub.service.picks import Pick, PickOutcome, PickRequest
from hub.transports.envoy_resources import DESTINATION
from hub.transports.grpc.picker import gateway_messages as messages
from hub.transports.grpc.picker.error_bodies import Refusal, refusal
from hub.transports.grpc.picker.gateway_messages import Mutation, out_of_order
from hub.transports.grpc.picker.inference_paths import Route, Served, find, is_ollama
from hub.transports.grpc.picker.json_model import BadBody
from hub.transports.grpc.picker.picker_calls import PickerCalls
from hub.transports.grpc.picker.request_body import RequestBody, TooLong
from llmhub.gateway.v1 import processing_pb2 as pb

Replies = tuple[bytes, ...]
Answer = Replies | Coroutine[Any, Any, Replies]
"""The replies, or a coroutine of them where many endpoints are to be judged."""

_NOTHING: Final[Replies] = ()
_WHOLE: Final = (pb.BODY_MODE_BUFFERED, pb.BODY_MODE_BUFFERED_PARTIAL)
# What proves the client, or would choose the endpoint in the picker's place.
_NEVER_PASSED: Final = ("authorization", "x-api-key", "api-key", "x-llm-hub-model")
_JSON: Final = "application/json"


class Exchange:
    """The state of one request. `receive` takes each message, `end` the end of the stream."""

    def __init__(self, calls: PickerCalls, gateway: Caller) -> None:
        """`gateway` is the caller that has opened the stream."""
        self._calls = calls
        self._gateway = gateway
        self._headers: dict[str, str] = {}
        self._route: Route | None = None
        self._subset: frozenset[str] | None = None
        self._body: RequestBody | None = None
        self._mode: pb.BodyMode = pb.BODY_MODE_FULL_DUPLEX_STREAMED
        self._response_mode: pb.BodyMode = pb.BODY_MODE_UNSPECIFIED
        self._is_refused = False
        self._pick: Pick | None = None
        self._is_finished = False
        self._picked_ms = 0
        self._status = 0
        self._served_by = ""
        self._ttft_ms: int | None = None
        self._response_bytes: int | None = None

    def receive(self, raw: bytes) -> Answer:
        """The replies to a message, or a coroutine of them. Raises ValidationFailed.

        The next message must wait until the coroutine has returned.
        """
        message = messages.parse(raw)
        kind = message.WhichOneof("request")
        if message.observability_mode or self._is_refused:
            # Envoy reads no answer.
            return _NOTHING
        if kind == "request_headers":
            return self._refusing(lambda: self._on_headers(message))
        if not self._headers:
            raise out_of_order("comes before request_headers")
        match kind:
            case "request_body":
                body = message.request_body
                return self._refusing(lambda: self._on_body(body.body, ended=body.end_of_stream))
            case "request_trailers":
                return self._refusing(self._on_request_trailers)
            case "response_headers":
                return self._on_response_headers(message)
            case "response_body":
                return self._on_response_body(message.response_body)
            case "response_trailers":
                self._finish()
                return (messages.RESPONSE_TRAILERS,)
        raise out_of_order("is of no known kind")

    def end(self) -> None:
        """The stream has ended: releases what the request holds. Idempotent."""
        self._finish()
        if self._body is not None:
            self._body.drop()

    # The request.

    def _refusing(self, handle: Callable[[], Answer]) -> Answer:
        """The handler's replies; a refusal if it raises."""
        try:
            replies = handle()
        except (HubError, BadBody, TooLong, _Refused) as error:
            return self._refuse(error)
        return replies if isinstance(replies, tuple) else self._refusing_later(replies)

    async def _refusing_later(self, replies: Coroutine[Any, Any, Replies]) -> Replies:
        try:
            return await replies
        except (HubError, BadBody, TooLong, _Refused) as error:
            return self._refuse(error)

    def _on_headers(self, message: pb.ProcessingRequest) -> Answer:
        if self._headers:
            raise _Refused(Refusal(500, "protocol_error", "request_headers came twice"))
        if message.HasField("protocol_config"):
            self._mode = message.protocol_config.request_body_mode
            self._response_mode = message.protocol_config.response_body_mode
        headers = self._headers = messages.headers_of(message.request_headers)
        method, path = headers.get(":method", ""), headers.get(":path", "")
        route = self._route = find(method, path)
        if route is None:
            unknown = f"the gateway does not serve {method} {path.partition('?')[0]}"
            raise _Refused(Refusal(404, "unknown_path", unknown))
        if route.served is not Served.ENDPOINT:
            answer = self._calls.answer(self._gateway, headers, route)
            if isinstance(answer, CoroutineType):
                return self._answer_later(answer)
            return self._answer(answer)
        self._require_mode(message)
        self._subset = messages.subset_of(message)
        if self._subset is not None and not self._subset:
            raise _Refused(Refusal(503, "no_endpoint", "the gateway allows no endpoint"))
        self._body = RequestBody(headers, self._calls.held)
        if message.request_headers.end_of_stream:
            return self._choose(self._body.finish(), ended=True, has_body=False)
        if self._mode in _WHOLE:
            # The gateway sends the body only after this answer, and keeps the headers back.
            return (messages.request_headers(Mutation(), ""),)
        return _NOTHING

    def _require_mode(self, message: pb.ProcessingRequest) -> None:
        is_early = message.protocol_config.send_body_without_waiting_for_header_response
        if message.request_headers.end_of_stream or self._mode == pb.BODY_MODE_FULL_DUPLEX_STREAMED:
            return
        if self._mode in _WHOLE or (self._mode == pb.BODY_MODE_STREAMED and is_early):
            return
        raise _Refused(
            Refusal(
                500,
                "gateway_misconfigured",
                "the gateway must send bodies: set request_body_mode to FULL_DUPLEX_STREAMED",
            )
        )

    def _on_body(self, chunk: bytes, *, ended: bool) -> Answer:
        body = self._body
        if body is None:
            raise _Refused(Refusal(500, "protocol_error", "a body came after its end"))
        if self._pick is not None:
            body.check(chunk)
            if self._mode == pb.BODY_MODE_FULL_DUPLEX_STREAMED:
                return (messages.chunk(chunk, ended=ended),)
            return (messages.streamed_chunk(None),)
        body.hold(chunk)
        if ended or (self._mode == pb.BODY_MODE_BUFFERED_PARTIAL and body.model is None):
            return self._choose(body.finish(), ended=ended, has_body=True)
        if body.model is None:
            return _NOTHING
        return self._choose(body.model, ended=ended, has_body=True)

    def _on_request_trailers(self) -> Answer:
        if self._pick is not None or self._body is None or self._mode in _WHOLE:
            return (messages.REQUEST_TRAILERS,)
        replies = self._choose(self._body.finish(), ended=False, has_body=True)
        if isinstance(replies, tuple):
            return (*replies, messages.REQUEST_TRAILERS)
        return self._trailers_later(replies)

    async def _trailers_later(self, replies: Coroutine[Any, Any, Replies]) -> Replies:
        return (*await replies, messages.REQUEST_TRAILERS)

    def _choose(self, model: str, *, ended: bool, has_body: bool) -> Answer:
        assert self._route is not None
        wanted = PickRequest(
            model,
            needs_ollama=self._route.is_ollama,
            subset=self._subset,
            head=self._body.head() if self._body is not None else b"",
        )
        pick = self._calls.pick(self._gateway, self._headers, wanted)
        if isinstance(pick, CoroutineType):
            return self._forward_later(pick, ended=ended, has_body=has_body)
        return self._forward(pick, ended=ended, has_body=has_body)

    async def _forward_later(
        self, pick: Coroutine[Any, Any, Pick], *, ended: bool, has_body: bool
    ) -> Replies:
        return self._forward(await pick, ended=ended, has_body=has_body)

    def _forward(self, pick: Pick, *, ended: bool, has_body: bool) -> Replies:
        """Sends the request, as far as it has come, to the picked endpoints."""
        self._pick, self._picked_ms = pick, self._calls.now_ms()
        body = self._body
        assert body is not None
        chunks, is_changed = body.take(pick.model)
        destination = ",".join(pick.addresses)
        mutation = self._mutation(pick, destination)
        if has_body and self._mode in _WHOLE:
            whole = b"".join(chunks) if is_changed else None
            if whole is not None and "content-length" in self._headers:
                mutation = Mutation(
                    {**mutation.set, "content-length": str(len(whole))}, mutation.remove
                )
            return (messages.whole_body(mutation, destination, whole),)
        head = messages.request_headers(mutation, destination)
        if not has_body:
            return (head,)
        if self._mode == pb.BODY_MODE_STREAMED:
            return (
                head,
                *(messages.streamed_chunk(each if is_changed else None) for each in chunks),
            )
        last = len(chunks) - 1
        return (
            head,
            *(
                messages.chunk(each, ended=ended and position == last)
                for position, each in enumerate(chunks)
            ),
        )

    def _mutation(self, pick: Pick, destination: str) -> Mutation:
        headers = {DESTINATION: destination}
        if pick.base_path:
            headers[":path"] = f"{pick.base_path}{self._headers[':path']}"
        if pick.api_key:
            headers["authorization"] = f"Bearer {pick.api_key}"
        removed = (name for name in _NEVER_PASSED if name in self._headers and name not in headers)
        return Mutation(headers, [*removed])

    # Answers of the hub itself.

    async def _answer_later(self, answer: Coroutine[Any, Any, bytes]) -> Replies:
        return self._answer(await answer)

    def _answer(self, body: bytes) -> Replies:
        self._is_refused = True
        return (messages.immediate(200, {"content-type": _JSON}, body, "llm_hub_models"),)

    def _refuse(self, error: Exception) -> Replies:
        self.end()
        if isinstance(error, _Refused):
            why = error.refusal
        elif isinstance(error, TooLong):
            why = Refusal(413, "body_too_long", str(error))
        elif isinstance(error, BadBody):
            why = Refusal(400, "invalid_body", str(error), "model")
        else:
            assert isinstance(error, HubError)
            why = refusal(error)
        self._is_refused = True
        headers = {"content-type": _JSON}
        if why.retry_after_s is not None:
            headers["retry-after"] = str(why.retry_after_s)
        body = why.body(is_ollama=is_ollama(self._headers.get(":path", "")))
        return (messages.immediate(why.status, headers, body, f"llm_hub_{why.code}"),)

    # The response.

    def _on_response_headers(self, message: pb.ProcessingRequest) -> Replies:
        headers = messages.headers_of(message.response_headers)
        status = headers.get(":status", "")
        self._status = int(status) if status.isdigit() else 0
        self._served_by = messages.served_by(message)
        self._ttft_ms = self._calls.now_ms() - self._picked_ms
        if message.response_headers.end_of_stream:
            self._finish()
        key = self._pick.api_key if self._pick is not None else None
        leaking = [name for name, value in headers.items() if key and key in value]
        return (messages.response_headers(Mutation(remove=leaking)),)

    def _on_response_body(self, body: pb.HttpBody) -> Replies:
        self._response_bytes = (self._response_bytes or 0) + len(body.body)
        if body.end_of_stream:
            self._finish()
        is_full_duplex = self._response_mode == pb.BODY_MODE_FULL_DUPLEX_STREAMED
        return (messages.response_chunk(body, is_full_duplex=is_full_duplex),)

    def _finish(self) -> None:
        """Reports how the request ended, once."""
        pick = self._pick
        if pick is None or self._is_finished:
            return
        self._is_finished = True
        now_ms = self._calls.now_ms()
        pick.finish(self._outcome(pick, now_ms), now_ms)

    def _outcome(self, pick: Pick, now_ms: int) -> PickOutcome:
        error = ""
        if not self._status:
            error = "no_response"
        elif self._status == 429:
            error = "overloaded"
        elif self._status >= 500:
            error = "server_error"
        tried: tuple[str, ...] = ()
        if self._served_by in pick.addresses:
            tried = pick.addresses[: pick.addresses.index(self._served_by)]
        return PickOutcome(
            ok=not error,
            error=error,
            status=self._status,
            address=self._served_by,
            tried=tried,
            ttft_ms=self._ttft_ms,
            duration_ms=now_ms - self._picked_ms,
            bytes=self._response_bytes,
        )


class _Refused(Exception):
    """The request is refused for a reason that no HubError names."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
