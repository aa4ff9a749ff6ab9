"""What recent requests to one model of an endpoint show, weighed by token. Pure.

The weight of an outcome halves every minute. If several tokens are active, none weighs
more than all others together, so a token's false reports move a figure by half at most.
Times and rates are averaged as the bounded parts of a score, so one absurd value moves
them no more than a bad one.
"""

from dataclasses import dataclass, field
from typing import Final

from hub.registry.outcomes.shown import HALF_FIRST_TOKEN_S, HALF_RATE
from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_CANCELLED,
    OUTCOME_RESULT_OK,
    OUTCOME_RESULT_OVERLOADED,
    OUTCOME_RESULT_REQUEST_REJECTED,
    Outcome,
)

HALF_LIFE_MS: Final = 60_000
"""The weight of an outcome halves in this time, in milliseconds."""

MAX_TOKENS: Final = 16
"""How many tokens are distinguished per model of an endpoint; the least active one is forgotten."""

STREAK_MS: Final = 120_000
"""Failures count as being in a row if no more than this many milliseconds lie between them."""

# A token with at least this weight is active: its last outcome is about a minute old at most.
_ACTIVE: Final = 0.5
_FORGOTTEN: Final = 0.05
# The rate of a very short answer says more about the clock than about the server.
_LEAST_TOKENS: Final = 8

_NEUTRAL: Final = (OUTCOME_RESULT_REQUEST_REJECTED, OUTCOME_RESULT_CANCELLED)
_NOT_BROKEN: Final = (OUTCOME_RESULT_OK, OUTCOME_RESULT_OVERLOADED)


def says_nothing(outcome: Outcome) -> bool:
    """Whether the outcome says nothing about the server."""
    return outcome.result in _NEUTRAL


def is_broken(outcome: Outcome) -> bool:
    """Whether the outcome is a failure that may open a breaker."""
    return outcome.result not in _NOT_BROKEN


@dataclass(slots=True)
class _Mean:
    """A decaying mean of numbers between 0 and 1."""

    total: float = 0.0
    weight: float = 0.0

    def add(self, part: float) -> None:
        self.total += part
        self.weight += 1

    def decay(self, factor: float) -> None:
        self.total *= factor
        self.weight *= factor


@dataclass(slots=True)
class _Share:
    """The decayed outcomes of one token."""

    at_ms: int
    requests: float = 0.0
    failed: float = 0.0
    broken: float = 0.0
    first_token: _Mean = field(default_factory=_Mean)
    rate: _Mean = field(default_factory=_Mean)

    def decay(self, now_ms: int) -> None:
        if now_ms <= self.at_ms:
            return
        factor = 0.5 ** ((now_ms - self.at_ms) / HALF_LIFE_MS)
        self.at_ms = now_ms
        self.requests *= factor
        self.failed *= factor
        self.broken *= factor
        self.first_token.decay(factor)
        self.rate.decay(factor)


@dataclass(frozen=True, slots=True)
class Findings:
    """What all recent outcomes show together.

    `requests` is their weight. `failed` and `broken` are shares, 0 to 1. `active` are the
    tokens with an outcome in about the last minute, and `blaming` those of them with a
    failure that may open a breaker. `first_token_s` and `tokens_per_s` are None if no
    outcome reported them.
    """

    requests: float
    failed: float
    broken: float
    active: frozenset[str]
    blaming: frozenset[str]
    first_token_s: float | None
    tokens_per_s: float | None


class Evidence:
    """The recent outcomes of the requests to one model of an endpoint."""

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}
        # The failures since the last success, by token.
        self._streak: dict[str, int] = {}
        self._failed_ms = 0

    @property
    def streak(self) -> int:
        """How many outcomes in a row were failures that may open a breaker."""
        return sum(self._streak.values())

    @property
    def streak_tokens(self) -> frozenset[str]:
        """The tokens that reported the streak."""
        return frozenset(self._streak)

    def add(self, token: str, outcome: Outcome, now_ms: int) -> None:
        """Adds an outcome, unless it says nothing about the server."""
        if says_nothing(outcome):
            return
        share = self._shares.get(token)
        if share is None:
            self._make_room(now_ms)
            share = self._shares[token] = _Share(now_ms)
        share.decay(now_ms)
        share.requests += 1
        if outcome.result == OUTCOME_RESULT_OK:
            self._streak.clear()
            self._measure(share, outcome)
            return
        share.failed += 1
        if is_broken(outcome):
            share.broken += 1
            if now_ms - self._failed_ms > STREAK_MS:
                self._streak.clear()
            self._failed_ms = now_ms
            if token in self._streak or len(self._streak) < MAX_TOKENS:
                self._streak[token] = self._streak.get(token, 0) + 1

    def findings(self, now_ms: int) -> Findings:
        """What the outcomes show now."""
        for token, share in [*self._shares.items()]:
            share.decay(now_ms)
            if share.requests < _FORGOTTEN:
                del self._shares[token]
        active = {token for token, share in self._shares.items() if share.requests >= _ACTIVE}
        total = sum(share.requests for share in self._shares.values())
        requests = failed = broken = 0.0
        first_token, rate = _Mean(), _Mean()
        for share in self._shares.values():
            others = total - share.requests
            # A token alone is believed; one among several weighs as much as the others at most.
            weight = min(share.requests, others) if len(active) > 1 else share.requests
            factor = weight / share.requests
            requests += weight
            failed += factor * share.failed
            broken += factor * share.broken
            for mean, part in ((first_token, share.first_token), (rate, share.rate)):
                mean.total += factor * part.total
                mean.weight += factor * part.weight
        return Findings(
            requests=requests,
            failed=min(failed / requests, 1.0) if requests else 0.0,
            broken=min(broken / requests, 1.0) if requests else 0.0,
            active=frozenset(active),
            blaming=frozenset(each for each in active if self._shares[each].broken >= _ACTIVE),
            first_token_s=_time_of(first_token),
            tokens_per_s=_rate_of(rate),
        )

    def clear_failures(self) -> None:
        """Forgets failures, because a trial has succeeded."""
        self._streak.clear()
        for share in self._shares.values():
            share.requests -= share.failed
            share.failed = share.broken = 0.0
        self._shares = {
            token: share for token, share in self._shares.items() if share.requests >= _FORGOTTEN
        }

    def _measure(self, share: _Share, outcome: Outcome) -> None:
        first_s = _seconds(outcome, "time_to_first_token")
        if first_s is not None:
            share.first_token.add(HALF_FIRST_TOKEN_S / (HALF_FIRST_TOKEN_S + first_s))
        took_s = _seconds(outcome, "duration")
        if took_s is None or outcome.output_tokens < _LEAST_TOKENS:
            return
        writing_s = took_s - (first_s or 0.0)
        if writing_s > 0:
            rate = outcome.output_tokens / writing_s
            share.rate.add(rate / (rate + HALF_RATE))

    def _make_room(self, now_ms: int) -> None:
        if len(self._shares) < MAX_TOKENS:
            return
        for share in self._shares.values():
            share.decay(now_ms)
        del self._shares[min(self._shares, key=lambda token: self._shares[token].requests)]


def _seconds(outcome: Outcome, name: str) -> float | None:
    if not outcome.HasField(name):
        return None
    duration = getattr(outcome, name)
    return float(duration.seconds + duration.nanos / 1e9)


# The part 1 has no finite time or rate: the least of both is a millionth of the half.
_LEAST: Final = 1e-6


def _time_of(mean: _Mean) -> float | None:
    if mean.weight < _FORGOTTEN:
        return None
    part = max(mean.total / mean.weight, _LEAST)
    return max(HALF_FIRST_TOKEN_S / part - HALF_FIRST_TOKEN_S, 0.0)


def _rate_of(mean: _Mean) -> float | None:
    if mean.weight < _FORGOTTEN:
        return None
    part = mean.total / mean.weight
    return HALF_RATE * part / max(1 - part, _LEAST)
