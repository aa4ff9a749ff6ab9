"""When a call is tried again, and how a watch survives its connections. No I/O.

A stream resumes after the last revision that was seen. If the hub no longer has the
history, the state is read again; what was there before and is missing in it was
deleted meanwhile, and an event says so. A reader of the events therefore never keeps
what is gone.
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

# A second try of these could happen twice.
_ONCE: Final = frozenset({"CreateToken"})

# No retry mends a watch that failed so.
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

    `attempts` counts the first try too. The n-th pause, in seconds, is drawn from 0 to
    `first_s` · 2ⁿ, at most `longest_s`: "full jitter", so that callers that failed
    together do not come back together.
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
        """It worked: the next pause is a first one again."""
        self._failures = 0

    def pause_s(self) -> float:
        """How long to wait after one more failure, in seconds."""
        longest = min(self._retry.first_s * 2**self._failures, self._retry.longest_s)
        self._failures = min(self._failures + 1, 32)
        return self._random.uniform(0, longest)

    def before_retry_s(self, name: str, failed: CallFailed, left_s: float) -> float | None:
        """Seconds to wait before the RPC is tried again; None if it must not be."""
        if (
            failed.code is not grpc.StatusCode.UNAVAILABLE
            or name in _ONCE
            or self._failures + 1 >= self._retry.attempts
        ):
            return None
        pause = max(self.pause_s(), failed.retry_after_s or 0.0)
        return pause if pause < left_s else None


def ends_a_watch(failed: CallFailed) -> bool:
    """Whether no retry can mend a watch that failed so."""
    return failed.code in _FINAL


Subject = tuple[str, str]
"""What an event is about: the member of `RegistryEvent.subject`, and the id."""


class Resumption:
    """One watch over any number of connections.

    `revision` is how far it has come: 0 before the first whole state, or what the
    request resumes after.
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
        """The hub no longer has the history: the next connection reads the state again."""
        self.revision = 0

    def receive(self, response: WatchRegistryResponse) -> list[RegistryEvent]:
        """The events that a response stands for, with the deletions that were missed."""
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
    """What an event is about."""
    match event.WhichOneof("subject"):
        case "endpoint":
            return "endpoint", event.endpoint.id
        case "resources":
            return "resources", event.resources.agent_id
        case "model_alias":
            return "model_alias", event.model_alias.name
        case _:
            # A hub that is newer than this client knows more subjects.
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
