"""One connection's conversation with the hub: frames in, frames out, no sockets.

It identifies first. Then it reports the host's resources and every server at each
interval, and a server immediately when something about it has changed. After a frame
that the hub answers, it waits for the answer before it sends the next one, so that an
answer always belongs to the one frame that waits for it.
"""

import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hub.sidecar.ending import REFUSED_WAIT_MS, Ending
from hub.sidecar.local_action import CAPABILITY, LocalAction, action_of
from hub.sidecar.local_server import OLLAMA, LocalServer

log = logging.getLogger("llm-hub.sidecar")

Frame = dict[str, object]

ANSWER_TIMEOUT_MS = 15_000
# A frame that the hub rejects as invalid stays invalid; ten per minute end the connection.
INVALID_PAUSE_MS = 60_000
# The hub accepts 65,536 bytes.
MAX_FRAME_BYTES = 60_000
# The hub accepts 60 reports per minute. Changes may use what regular reports leave of this.
MAX_REPORTS_PER_MINUTE = 54
MIN_CHANGES_PER_MINUTE = 6

_HEAVY, _NORMAL = "heavy", "normal"
_TIERS = {
    "identify": _HEAVY,
    "ollama_report": _HEAVY,
    "endpoint_report": _NORMAL,
    "resource_report": _NORMAL,
}
_ANSWERS = {
    "identify": "identified",
    "ollama_report": "ollama_report_ack",
    "endpoint_report": "endpoint_report_ack",
}
_REPORTED = _ANSWERS["endpoint_report"]


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of the sidecar."""

    agent_id: str
    token: str = field(repr=False)
    name: str | None = None
    allows_actions: bool = False


class Conversation:
    """Pass it every text with the time of its arrival, and send what `next_frame` returns.

    Call `next_frame` until it returns None, then again when a text has arrived or
    at `wake_ms`. Close the connection once `ending` is set.
    """

    def __init__(
        self,
        identity: Identity,
        servers: Sequence[LocalServer],
        *,
        interval_ms: int,
        now_ms: int,
    ) -> None:
        self._interval_ms = interval_ms
        self._queue: deque[Frame] = deque()
        self._awaited: Frame | None = None
        self._answer_by_ms = 0
        self._tick_ms = now_ms
        self._hold_ms: dict[str, int] = {}
        self._announced: set[str] = set()
        self._takes_endpoints = True
        self._allows_actions = identity.allows_actions
        # The reported URL, by the endpoint id that the hub acknowledged for it.
        self._urls: dict[str, str] = {}
        self._actions: list[LocalAction] = []
        self._results: deque[Frame] = deque()
        self._servers: Sequence[LocalServer] = ()
        self._reported: dict[str, LocalServer] = {}
        self._changes_ms: deque[int] = deque()
        self.identified_at_ms: int | None = None
        self.ending: Ending | None = None
        self._queue.append(self._identify(identity, servers))

    @property
    def wake_ms(self) -> int:
        """When `next_frame` must be called again, even if no text arrives."""
        if self._awaited is not None:
            return self._answer_by_ms
        if self._results:
            return self._hold_ms.get(_NORMAL, 0)
        if self._queue:
            return self._hold_ms.get(_tier(self._queue[0]), 0)
        return self._tick_ms

    def next_frame(
        self, host: Mapping[str, object] | None, servers: Sequence[LocalServer], now_ms: int
    ) -> Frame | None:
        """The frame to send now, or None. `host` is a fresh sample, or None."""
        if self.ending is not None:
            return None
        if self._awaited is not None:
            if now_ms >= self._answer_by_ms:
                self.ending = Ending(f"the hub did not answer {self._awaited['type']}")
            return None
        if self.identified_at_ms is not None and now_ms >= self._tick_ms:
            # Counted from the last tick, so that the interval does not drift; or from now,
            # if the machine slept through some ticks.
            self._tick_ms = max(self._tick_ms + self._interval_ms, now_ms + 1)
            self._enqueue(host, servers)
        elif self.identified_at_ms is not None and servers is not self._servers:
            self._enqueue_changes(servers, now_ms)
        if self._results and now_ms >= self._hold_ms.get(_NORMAL, 0):
            return self._results.popleft()
        if not self._queue or now_ms < self._hold_ms.get(_tier(self._queue[0]), 0):
            return None
        frame = self._queue.popleft()
        if frame["type"] in _ANSWERS:
            self._awaited = frame
            self._answer_by_ms = now_ms + ANSWER_TIMEOUT_MS
        return frame

    def receive(self, text: str | bytes, now_ms: int) -> None:
        """Processes a frame from the hub."""
        try:
            frame = json.loads(text)
        except ValueError:
            log.warning("the hub sent invalid JSON")
            return
        kind = frame.get("type") if isinstance(frame, dict) else None
        match kind:
            case "identified":
                self._settle(kind)
                self.identified_at_ms = self._tick_ms = now_ms
                log.info("identified as %s", frame.get("agent_id"))
                if isinstance(refused := frame.get("endpoint_refused"), dict):
                    log.warning("the hub refused the endpoint: %s", _detail(refused))
            case "ollama_report_ack" | "endpoint_report_ack":
                self._note_url(kind, frame)
                self._settle(kind)
                self._announce(frame)
            case "model_action" if self._allows_actions:
                self._take_action(frame)
            case "error":
                self._refused(frame, now_ms)
            case "rate_limited":
                self._limited(frame, now_ms)
            case "rate_limit_warning":
                self._warned(frame, now_ms)
            case _:
                log.debug("the hub sent a frame of type %r", kind)

    def take_actions(self) -> list[LocalAction]:
        """The actions that the hub has requested since the last call."""
        actions, self._actions = self._actions, []
        return actions

    def add_result(self, result: Frame) -> None:
        """Queues the result of an action, to be sent as soon as no answer is pending."""
        self._results.append(result)

    def _take_action(self, frame: Frame) -> None:
        endpoint_id = str(frame.get("endpoint_id"))
        action = action_of(frame, self._urls.get(endpoint_id))
        if action is None:
            log.warning("the hub asked for an action that this sidecar does not know")
            return
        log.info("the hub asks to %s", action)
        self._actions.append(action)

    def _note_url(self, answer: str, frame: Frame) -> None:
        awaited = self._awaited
        if awaited is not None and awaited["type"] == "endpoint_report" and answer == _REPORTED:
            self._urls[str(frame.get("endpoint_id"))] = str(awaited["url"])

    def _identify(self, identity: Identity, servers: Sequence[LocalServer]) -> Frame:
        frame: Frame = {
            "type": "identify",
            "agent_id": identity.agent_id,
            "token": identity.token,
            "status": "online",
            "capabilities": ["resource_report", "endpoint_report"],
        }
        if identity.allows_actions:
            frame["capabilities"] = ["resource_report", "endpoint_report", CAPABILITY]
        if identity.name:
            frame["name"] = identity.name
        for server in servers:
            if server.backend == OLLAMA and server.reachable:
                frame["ollama_url"] = server.url
                self._announced.add(server.url)
                break
        return frame

    def _enqueue(self, host: Mapping[str, object] | None, servers: Sequence[LocalServer]) -> None:
        # Frames that could not be sent since the last tick are outdated.
        self._queue.clear()
        self._servers = servers
        self._reported.clear()
        if host is not None:
            self._queue.append({"type": "resource_report", **host})
        for server in servers:
            self._enqueue_server(server)

    def _enqueue_changes(self, servers: Sequence[LocalServer], now_ms: int) -> None:
        """Reports the servers that have changed; those beyond the limit wait for the tick."""
        self._servers = servers
        for server in servers:
            if self._reported.get(server.url) == server:
                continue
            if not self._may_report_change(len(servers), now_ms):
                return
            self._changes_ms.append(now_ms)
            self._enqueue_server(server)

    def _may_report_change(self, servers: int, now_ms: int) -> bool:
        while self._changes_ms and now_ms - self._changes_ms[0] >= 60_000:
            self._changes_ms.popleft()
        regular = (1 + servers) * 60_000 / self._interval_ms
        limit = max(MIN_CHANGES_PER_MINUTE, MAX_REPORTS_PER_MINUTE - regular)
        return len(self._changes_ms) < limit

    def _enqueue_server(self, server: LocalServer) -> None:
        self._reported[server.url] = server
        is_new = server.reachable and server.url not in self._announced
        if server.backend == OLLAMA and is_new:
            self._queue.append({"type": "ollama_report", "ollama_url": server.url})
        if self._takes_endpoints:
            self._queue.append(server.report(MAX_FRAME_BYTES))

    def _settle(self, answer: str) -> None:
        if self._awaited is not None and _ANSWERS[str(self._awaited["type"])] == answer:
            frame, self._awaited = self._awaited, None
            if frame["type"] == "ollama_report":
                self._announced.add(str(frame["ollama_url"]))

    def _announce(self, frame: Frame) -> None:
        id_ = str(frame.get("endpoint_id"))
        if id_ not in self._announced:
            self._announced.add(id_)
            log.info("registered %s", id_)

    def _refused(self, frame: Frame, now_ms: int) -> None:
        code = str(frame.get("error"))
        about = frame.get("message_type")
        detail = _detail(frame)
        if self.identified_at_ms is None:
            means = _REFUSALS.get(code)
            said = detail if code in detail else f"{code}: {detail}"
            why = f"{means} ({said})" if means else detail
            self.ending = Ending(f"the hub refused to identify: {why}", REFUSED_WAIT_MS)
            return
        awaited, self._awaited = self._awaited, None
        kind = str(awaited["type"]) if awaited is not None else str(about or "resource_report")
        if kind == "endpoint_report" and code == "not_implemented":
            self._takes_endpoints = False
            self._queue = deque(each for each in self._queue if each["type"] != kind)
            log.warning("this hub accepts no endpoint reports: it only learns of Ollama servers")
            return
        log.warning("the hub refused %s: %s", kind, detail)
        if code == "validation_failed":
            self._hold(_TIERS.get(kind, _NORMAL), now_ms + INVALID_PAUSE_MS)

    def _limited(self, frame: Frame, now_ms: int) -> None:
        retry_ms = _count(frame.get("retry_after_ms"), 1_000)
        if self.identified_at_ms is None:
            self.ending = Ending("the hub limits how often to identify", retry_ms)
            return
        log.warning("rate limited (%s): waiting %d ms", frame.get("tier"), retry_ms)
        if self._awaited is not None:
            self._queue.appendleft(self._awaited)
            self._awaited = None
        self._hold(str(frame.get("tier")), now_ms + retry_ms)

    def _warned(self, frame: Frame, now_ms: int) -> None:
        capacity = max(1, _count(frame.get("capacity"), 60))
        # A bucket refills evenly over a minute; half of that speed lets it recover.
        pause_ms = 2 * 60_000 // capacity
        log.info("%s frames left (%s): slowing down", frame.get("remaining"), frame.get("tier"))
        self._hold(str(frame.get("tier")), now_ms + pause_ms)

    def _hold(self, tier: str, until_ms: int) -> None:
        self._hold_ms[tier] = max(until_ms, self._hold_ms.get(tier, 0))


def _tier(frame: Frame) -> str:
    return _TIERS[str(frame["type"])]


def _count(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and 0 <= value < 10**9 else otherwise


# What an admin needs to know about a refused token; the hub's own text is less specific.
_REFUSALS = {
    "invalid_token": "this token is not a sidecar token, or it was revoked or has expired",
    "token_agent_mismatch": "this token is bound to another agent",
}


def _detail(frame: Frame) -> str:
    """The text of an error frame, in one line."""
    text = str(frame.get("detail") or frame.get("error"))
    errors = frame.get("errors")
    if isinstance(errors, list):
        fields = [f"{e.get('field')}: {e.get('detail')}" for e in errors if isinstance(e, dict)]
        text = f"{text}: {'; '.join(fields)}" if fields else text
    return text[:500]
