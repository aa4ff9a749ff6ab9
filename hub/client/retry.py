"""When a call is retried, and how a watch survives lost connections. No I/O.

A stream resumes after the last revision that it received. If the hub no longer has the
history, the state is read again. What was in the old state and is missing in the new one
was deleted meanwhile, so the watch adds an event for its deletion. Therefore a reader of
the events never keeps deleted objects.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

import grpc

from hub.client.call_errors import CallFailed
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest, WatchRegistryResponse
from llmhub.v1.resources_pb2 import (
    EVENT_TYPE_DELETE,
    EVENT_TYPE_PUT,
    HostResources,
    RegistryEvent,
)

# Must not be retried, because both attempts could take effect.
_ONCE: Final = frozenset({"CreateToken"})

# A watch that fails with one of these codes cannot be retried.
_FINAL: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how soon a call is retried while the hub is UNAVAILABLE.

    `attempts` includes the first one. The n-th pause, in seconds, is random between 0 and
    `first_s` · 2ⁿ, at most `longest_s`. This "full jitter" keeps callers that failed
    together from coming back together.
    """

    attempts: int = 10
    first_s: float = 0.1
    longest_s: float = 5.0


class Backoff:
    """The pauses of one call, or of one watch."""

    def __init__(self, retry: Retry, random: Random) -> None:
        self._retry = retry
        self._random = random
        self._failures = 0

    def reset(self) -> None:
        """Records a success; the pauses start again with the first one."""
        self._failures = 0

    def pause_s(self) -> float:
        """The seconds to wait after another failure."""
        longest = min(self._retry.first_s * 2**self._failures, self._retry.longest_s)
        self._failures = min(self._failures + 1, 32)
        return self._random.uniform(0, longest)

    def before_retry_s(self, name: str, failed: CallFailed, left_s: float) -> float | None:
        """The seconds to wait before the RPC is retried; None if it must not be retried."""
        if (
            failed.code is not grpc.StatusCode.UNAVAILABLE
            or name in _ONCE
            or self._failures + 1 >= self._retry.attempts
        ):
            return None
        pause = max(self.pause_s(), failed.retry_after_s or 0.0)
        return pause if pause < left_s else None


def ends_a_watch(failed: CallFailed) -> bool:
    """Whether a watch that failed this way cannot be retried."""
    return failed.code in _FINAL


Subject = tuple[str, str]
"""The subject of an event: the member of `RegistryEvent.subject`, and the id."""


class Resumption:
    """One watch over any number of connections.

    `revision` is the revision that it has reached: 0 before the first complete state, or
    the one after which the request resumes.
    """

    def __init__(self, request: WatchRegistryRequest) -> None:
        self._request = request
        self._known: set[Subject] = set()
        self._listed: set[Subject] = set()
        self.revision = request.after_revision

    def connect(self) -> WatchRegistryRequest:
        """The request for the next connection."""
        self._listed.clear()
        request = WatchRegistryRequest()
        request.CopyFrom(self._request)
        request.ClearField("after_revision")
        if self.revision:
            request.after_revision = self.revision
        return request

    def forget(self) -> None:
        """Makes the next connection read the state again, because the history is gone."""
        self.revision = 0

    def receive(self, response: WatchRegistryResponse) -> list[RegistryEvent]:
        """The events of a response, with the deletions that were missed."""
        events = list(response.events)
        for event in events:
            subject = subject_of(event)
            if event.type == EVENT_TYPE_PUT:
                self._known.add(subject)
            else:
                self._known.discard(subject)
            if not self.revision:
                self._listed.add(subject)
        if not self.revision and response.revision:
            events += (
                _deletion(subject, response.revision)
                for subject in sorted(self._known - self._listed)
            )
            self._known = self._listed
            self._listed = set()
        self.revision = response.revision or self.revision
        return events


def subject_of(event: RegistryEvent) -> Subject:
    """The subject of an event."""
    match event.WhichOneof("subject"):
        case "endpoint":
            return "endpoint", event.endpoint.id
        case "resources":
            return "resources", event.resources.agent_id
        case "model_alias":
            return "model_alias", event.model_alias.name
        case _:
            # A newer hub may know more subjects.
            return "", ""


def _deletion(subject: Subject, revision: int) -> RegistryEvent:
    event = RegistryEvent(type=EVENT_TYPE_DELETE, revision=revision)
    kind, id_ = subject
    match kind:
        case "endpoint":
            event.endpoint.CopyFrom(Endpoint(id=id_))
        case "resources":
            event.resources.CopyFrom(HostResources(agent_id=id_))
        case "model_alias":
            event.model_alias.CopyFrom(ModelAlias(name=id_))
    return event
