"""The settings of the probes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """How often, how long, how many at a time, and whom to probe.

    Times are seconds. `jitter` is a share of the interval, drawn anew for every
    probe. `total_timeout_s` covers all requests of one probe.

    `concurrency` bounds the probes in flight to endpoints that answered the last
    time; `doubtful_concurrency` those to endpoints that did not or were never
    asked. The second is the larger, because its probes may each hang for the
    whole timeout: 5,000 dead endpoints every 30 s at 5 s each are 833 at a time.
    A probe that has been in flight for `demote_after_s` changes over to the
    second count. `asked_concurrency` bounds the probes that a person waits for.
    `per_host` holds in each of the three counts by itself, so that an endpoint
    that hangs cannot use up its living neighbours' share.

    `keepalive_s` is how long an idle connection is kept; longer than the interval,
    so that a probe need not connect. That saves a third of the CPU of a large fleet
    and costs a file descriptor and some 16 KiB for each endpoint that answers: the
    process must be allowed so many. 2 keeps connections within one probe only.

    A failed probe is repeated soon, until `unhealthy_after` have failed in a row;
    `concurrency` bounds the repeats in flight too, in a count of their own. The repeat
    of an endpoint that has answered before waits for its first answer `confirm_timeout_s`,
    or four times as long as it took the last time, and at most `total_timeout_s`.

    `allow` and `deny` are CIDR blocks: deny wins, a non-empty allow restricts.
    """

    interval_s: float = 30.0
    jitter: float = 0.1
    connect_timeout_s: float = 3.0
    total_timeout_s: float = 5.0
    confirm_timeout_s: float = 1.25
    unhealthy_after: int = 2
    concurrency: int = 256
    doubtful_concurrency: int = 1024
    asked_concurrency: int = 32
    per_host: int = 4
    demote_after_s: float = 0.5
    keepalive_s: float = 45.0
    max_body_bytes: int = 4 * 1024 * 1024
    max_retry_after_s: float = 900.0
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    user_agent: str = "llm-registry-hub"
