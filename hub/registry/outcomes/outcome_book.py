"""The evidence and the breaker of every model of every server, and when breakers open. Pure.

A breaker opens after five failures in a row, or if at least 60 % of the recent requests
failed and they weigh ten or more. One caller cannot eject a fleet:

- If several tokens are active at the server, two of them must report failures.
- If other tokens use the model elsewhere, one token alone ejects a tenth of its servers.
- At most half of a model's servers are ejected at a time, and never the only one.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from hub.contract.dialect.names import enum_word
from hub.registry.outcomes.breaker import Breaker
from hub.registry.outcomes.evidence import Evidence, Findings, is_broken, says_nothing
from llmhub.v1.registry_service_pb2 import Outcome, OutcomeResult

MAX_MODELS: Final = 20_000
"""How many models of servers have evidence; the one unused for longest is forgotten."""

MAX_MODELS_PER_SERVER: Final = 64
"""How many models of one server have evidence; the one unused for longest is forgotten."""

PUBLISH_MS: Final = 5_000
"""Changed figures are published at most this often, in milliseconds."""

FAILURES_IN_A_ROW: Final = 5
LEAST_REQUESTS: Final = 10
FAILED_RATIO: Final = 0.6

# Figures fade without new outcomes, so they are published again after this time.
_REFRESH_MS: Final = 30_000
# A token that used a model within this time can object to the word of another.
_CALLER_MS: Final = 120_000
_CALLERS: Final = 8
_ALONE_SHARE: Final = 10
# An opening that a bound refused is considered again after this time.
_RETRY_MS: Final = 1_000
_NEGLIGIBLE: Final = 0.05


class Key(NamedTuple):
    """One model of one server."""

    server: str
    model: str


@dataclass(slots=True, eq=False)
class Entry:
    """What is known about one model of a server, and when it was last published."""

    evidence: Evidence = field(default_factory=Evidence)
    breaker: Breaker = field(default_factory=Breaker)
    published_ms: int = 0
    refused_ms: int = 0
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Reported:
    """One outcome: who reported it, of which lease, and when it arrived."""

    outcome: Outcome
    token: str
    lease_id: str
    now_ms: int


class Due(NamedTuple):
    """A server to publish, and whether a breaker has changed."""

    server: str
    is_event: bool


class OutcomeBook:
    """The entries, within bounds. Times are epoch milliseconds."""

    def __init__(
        self,
        *,
        max_models: int = MAX_MODELS,
        max_models_per_server: int = MAX_MODELS_PER_SERVER,
    ) -> None:
        self._max_models = max_models
        self._max_per_server = max_models_per_server
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._of_server: dict[str, dict[str, None]] = {}
        self._ejected: dict[str, set[str]] = {}
        self._callers: OrderedDict[str, dict[str, int]] = OrderedDict()
        # May hold outdated items until their time comes.
        self._due: list[tuple[int, Key]] = []
        # Servers that still show a model that was forgotten to make room.
        self._stale: set[str] = set()
        self.results: Counter[OutcomeResult] = Counter()
        self.tokens: Counter[str] = Counter()
        self.openings = 0
        self.refused_openings = 0

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self, server: str) -> Iterator[tuple[str, Entry]]:
        """The models of a server that have evidence, with their entries."""
        for model in self._of_server.get(server, ()):
            yield model, self._entries[Key(server, model)]

    @property
    def has_ejected(self) -> bool:
        """Whether any breaker is not closed."""
        return bool(self._ejected)

    def ejected(self) -> int:
        """The number of breakers that are not closed."""
        return sum(map(len, self._ejected.values()))

    def report(self, key: Key, reported: Reported, servers: Callable[[], int]) -> Due | None:
        """Adds an outcome. Returns what to publish now, if anything.

        `servers` counts those that can serve the model now, this one included.
        """
        outcome, now_ms = reported.outcome, reported.now_ms
        self.results[outcome.result] += 1
        self.tokens["prompt"] += outcome.prompt_tokens
        self.tokens["cached"] += outcome.cached_tokens
        self.tokens["output"] += outcome.output_tokens
        entry = self._entry(key)
        breaker = entry.breaker
        was_trial = breaker.end_trial(reported.lease_id)
        entry.evidence.add(reported.token, outcome, now_ms)
        self._note_caller(key.model, reported.token, now_ms)
        changed = False
        if breaker.is_closed:
            changed = is_broken(outcome) and self._open_if_due(key, entry, reported, servers)
        elif was_trial and not says_nothing(outcome):
            self._end_trial(key, entry, reported)
            changed = True
        if changed or was_trial:
            return self._publish(key, entry, now_ms, is_event=changed)
        entry.changed = True
        if now_ms - entry.published_ms >= PUBLISH_MS:
            return self._publish(key, entry, now_ms, is_event=False)
        self._schedule(entry.published_ms + PUBLISH_MS, key)
        return None

    def begin_trial(self, key: Key, lease_id: str, ends_ms: int, now_ms: int) -> Due | None:
        """Makes a lease the trial of a half-open breaker, if it waits for one."""
        entry = self._entries.get(key)
        if entry is None or not entry.breaker.begin_trial(lease_id, ends_ms):
            return None
        return self._publish(key, entry, now_ms, is_event=False)

    def end_trial(self, key: Key, lease_id: str, now_ms: int) -> Due | None:
        """Ends the trial of a lease that ended without an outcome."""
        entry = self._entries.get(key)
        if entry is None or not entry.breaker.end_trial(lease_id):
            return None
        return self._publish(key, entry, now_ms, is_event=False)

    def next_ms(self) -> int | None:
        """When `pop_due` has something next, or None."""
        if self._stale:
            return 0
        return self._due[0][0] if self._due else None

    def pop_due(self, now_ms: int) -> Due | None:
        """A server to publish because of the time, or None."""
        if self._stale:
            return Due(self._stale.pop(), is_event=False)
        while self._due and self._due[0][0] <= now_ms:
            _, key = heappop(self._due)
            entry = self._entries.get(key)
            if entry is None:
                continue
            due_ms = entry.breaker.due_ms
            ended = due_ms is not None and due_ms <= now_ms
            if entry.breaker.pass_time(now_ms):
                if entry.breaker.is_closed:
                    self._let_in(key)
                return self._publish(key, entry, now_ms, is_event=True)
            if ended or now_ms - entry.published_ms >= (
                PUBLISH_MS if entry.changed else _REFRESH_MS
            ):
                faded = entry.evidence.findings(now_ms).requests < _NEGLIGIBLE
                if faded and entry.breaker.is_closed:
                    self._drop(key)
                    return Due(key.server, is_event=False)
                return self._publish(key, entry, now_ms, is_event=False)
        return None

    def forget(self, server: str) -> None:
        """Forgets a server."""
        for model in [*self._of_server.get(server, ())]:
            self._drop(Key(server, model))

    def _open_if_due(
        self, key: Key, entry: Entry, reported: Reported, servers: Callable[[], int]
    ) -> bool:
        now_ms = reported.now_ms
        evidence, found = entry.evidence, entry.evidence.findings(now_ms)
        if evidence.streak >= FAILURES_IN_A_ROW and _agree(found, evidence.streak_tokens):
            why, blamers = f"{evidence.streak} requests in a row failed", evidence.streak_tokens
        elif (
            found.requests >= LEAST_REQUESTS
            and found.broken >= FAILED_RATIO
            and _agree(found, found.blaming)
        ):
            why = f"{found.broken:.0%} of the recent requests failed"
            blamers = found.blaming
        else:
            return False
        if now_ms - entry.refused_ms < _RETRY_MS:
            return False
        blamed_by = next(iter(blamers)) if len(blamers) == 1 else ""
        if not self._may_eject(key.model, blamed_by, servers(), now_ms):
            entry.refused_ms = now_ms
            self.refused_openings += 1
            return False
        self._open(key, entry, f"{why}, {_ended(reported.outcome)}", blamed_by, now_ms)
        return True

    def _may_eject(self, model: str, blamed_by: str, servers: int, now_ms: int) -> bool:
        """Whether the bounds on ejected servers leave room for one more."""
        ejected = self._ejected.get(model, ())
        if len(ejected) >= servers // 2:
            return False
        others = any(
            token != blamed_by and now_ms - at_ms < _CALLER_MS
            for token, at_ms in self._callers.get(model, {}).items()
        )
        if not blamed_by or not others:
            return True
        alone = sum(
            self._entries[Key(server, model)].breaker.blamed_by == blamed_by for server in ejected
        )
        return alone < max(1, servers // _ALONE_SHARE)

    def _open(self, key: Key, entry: Entry, why: str, blamed_by: str, now_ms: int) -> None:
        entry.breaker.open(why, now_ms, blamed_by)
        self._ejected.setdefault(key.model, set()).add(key.server)
        self.openings += 1

    def _end_trial(self, key: Key, entry: Entry, reported: Reported) -> None:
        if is_broken(reported.outcome):
            before = entry.breaker.blamed_by
            blamed_by = before if before == reported.token else ""
            why = f"the trial request failed, {_ended(reported.outcome)}"
            self._open(key, entry, why, blamed_by, reported.now_ms)
            return
        entry.breaker.close(reported.now_ms)
        entry.evidence.clear_failures()
        self._let_in(key)

    def _publish(self, key: Key, entry: Entry, now_ms: int, *, is_event: bool) -> Due:
        entry.published_ms = now_ms
        entry.changed = False
        due_ms = entry.breaker.due_ms
        refresh_ms = now_ms + _REFRESH_MS
        self._schedule(refresh_ms if due_ms is None else min(due_ms, refresh_ms), key)
        return Due(key.server, is_event)

    def _schedule(self, at_ms: int, key: Key) -> None:
        if len(self._due) > 3 * len(self._entries) + 64:
            self._due = [(self._next_of(entry), each) for each, entry in self._entries.items()]
            heapify(self._due)
        heappush(self._due, (at_ms, key))

    def _next_of(self, entry: Entry) -> int:
        wait_ms = PUBLISH_MS if entry.changed else _REFRESH_MS
        due_ms = entry.breaker.due_ms
        at_ms = entry.published_ms + wait_ms
        return at_ms if due_ms is None else min(due_ms, at_ms)

    def _entry(self, key: Key) -> Entry:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            models = self._of_server[key.server]
            del models[key.model]
            models[key.model] = None
            return entry
        models = self._of_server.get(key.server, {})
        if len(models) >= self._max_per_server:
            self._evict(Key(key.server, model) for model in models)
        if len(self._entries) >= self._max_models:
            self._evict(iter(self._entries))
        entry = self._entries[key] = Entry()
        self._of_server.setdefault(key.server, {})[key.model] = None
        return entry

    def _evict(self, keys: Iterator[Key]) -> None:
        """Drops the first key whose breaker is closed, or the first one if none of them is."""
        first = next(keys)
        key = first
        while not self._entries[key].breaker.is_closed:
            key = next(keys, first)
            if key is first:
                break
        self._drop(key)
        self._stale.add(key.server)

    def _drop(self, key: Key) -> None:
        del self._entries[key]
        models = self._of_server[key.server]
        del models[key.model]
        if not models:
            del self._of_server[key.server]
        self._let_in(key)

    def _let_in(self, key: Key) -> None:
        ejected = self._ejected.get(key.model)
        if ejected is not None:
            ejected.discard(key.server)
            if not ejected:
                del self._ejected[key.model]

    def _note_caller(self, model: str, token: str, now_ms: int) -> None:
        callers = self._callers.setdefault(model, {})
        self._callers.move_to_end(model)
        callers.pop(token, None)
        callers[token] = now_ms
        if len(callers) > _CALLERS:
            del callers[next(iter(callers))]
        if len(self._callers) > self._max_models:
            self._callers.popitem(last=False)


def _agree(found: Findings, blamers: frozenset[str]) -> bool:
    """Whether the tokens that report failures are enough: two, if several are active."""
    return len(found.active | blamers) < 2 or len(blamers) > 1


def _ended(outcome: Outcome) -> str:
    word = enum_word(OutcomeResult.DESCRIPTOR, outcome.result).replace("_", " ")
    return f"the last one with: {word}"
