"""A request to a selected endpoint: measures it, and says how it ended."""

import time
from collections.abc import Callable
from typing import Final

from google.protobuf.duration_pb2 import Duration

from hub.client.fleet_cache import base_url
from hub.registry.outcomes.http_results import result_of_status
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_BROKEN_OFF,
    OUTCOME_RESULT_CANCELLED,
    OUTCOME_RESULT_CONNECT_FAILED,
    OUTCOME_RESULT_OK,
    OUTCOME_RESULT_TIMED_OUT,
    OUTCOME_RESULT_UNSPECIFIED,
    Outcome,
    OutcomeResult,
    Selection,
)


class SelectionSession:
    """One request to a selected endpoint, from the selection to its outcome.

    The block of `Hub.session` is the request. Without any call of these methods, the hub
    learns how long the block took and whether it succeeded. An exception says how it failed:
    the response's HTTP status if the exception carries one, a timeout, or a broken
    connection. Other exceptions count as cancelled, which says nothing about the server.
    """

    def __init__(self, selection: Selection, clock: Callable[[], float] = time.monotonic) -> None:
        self.selection = selection
        self._clock = clock
        self._began_s = clock()
        self._outcome = Outcome()

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint to send the request to."""
        return self.selection.endpoint

    @property
    def base_url(self) -> str:
        """The base URL of the endpoint, such as "http://10.0.0.1:11434"."""
        return base_url(self.selection.endpoint)

    @property
    def model(self) -> str:
        """The endpoint's own name of the model."""
        return self.selection.model

    def first_token(self) -> None:
        """Records that the first token has come now; later calls change nothing."""
        if not self._outcome.HasField("time_to_first_token"):
            self._outcome.time_to_first_token.CopyFrom(self._elapsed())

    def status(self, code: int) -> None:
        """Records the HTTP status of the response."""
        self._outcome.result = result_of_status(code)

    def ended(self, result: OutcomeResult) -> None:
        """Records the result, if the hub should not conclude it from the end of the block."""
        self._outcome.result = result

    def counted(
        self,
        *,
        output_tokens: int | None = None,
        prompt_tokens: int | None = None,
        cached_tokens: int | None = None,
        request_bytes: int | None = None,
        response_bytes: int | None = None,
    ) -> None:
        """Records figures of the request; None is unknown."""
        figures = Outcome(
            output_tokens=output_tokens,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            request_bytes=request_bytes,
            response_bytes=response_bytes,
        )
        self._outcome.MergeFrom(figures)

    def outcome(self, error: BaseException | None) -> Outcome:
        """The outcome of the request, which ends now with this exception or without one."""
        outcome = Outcome()
        outcome.CopyFrom(self._outcome)
        if not outcome.HasField("duration"):
            outcome.duration.CopyFrom(self._elapsed())
        has_begun = outcome.HasField("time_to_first_token")
        if error is not None and outcome.result in (OUTCOME_RESULT_UNSPECIFIED, OUTCOME_RESULT_OK):
            outcome.result = result_of_error(error, has_begun=has_begun)
        elif not outcome.result:
            outcome.result = OUTCOME_RESULT_OK
        return outcome

    def _elapsed(self) -> Duration:
        elapsed = Duration()
        elapsed.FromNanoseconds(max(round((self._clock() - self._began_s) * 1e9), 0))
        return elapsed


_CONNECT: Final = ("connect", "unreachable")
_BROKEN: Final = ("protocolerror", "readerror", "writeerror", "disconnected", "chunked", "payload")


def result_of_error(error: BaseException, *, has_begun: bool) -> OutcomeResult:
    """What an exception says about a request; `has_begun`: its first token had come.

    Knows the exceptions of Python and, by their attributes and names, those of httpx,
    requests, aiohttp and OpenAI's SDK.
    """
    status = _status_of(error)
    if status is not None:
        return result_of_status(status)
    name = type(error).__name__.lower()
    if isinstance(error, TimeoutError) or "timeout" in name:
        return OUTCOME_RESULT_TIMED_OUT
    if isinstance(error, ConnectionError) or any(each in name for each in (*_CONNECT, *_BROKEN)):
        is_reset = isinstance(error, (ConnectionResetError, BrokenPipeError))
        broke = has_begun or is_reset or any(each in name for each in _BROKEN)
        return OUTCOME_RESULT_BROKEN_OFF if broke else OUTCOME_RESULT_CONNECT_FAILED
    return OUTCOME_RESULT_CANCELLED


def _status_of(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    for holder in (error, response):
        for name in ("status_code", "status"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and 100 <= value <= 599:
                return value
    return None
