"""When to try again. Pure."""

from dataclasses import dataclass
from random import Random
from typing import Final

import grpc

from hub.client.call_errors import CallFailed

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
