import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.contract.rpcs import Tier
from hub.service.access.rate_limits import ALLOWED, DEFAULT_PER_MINUTE, RateLimiter

NOW = 1_800_000_000_000


@pytest.mark.parametrize("tier", Tier)
def test_a_full_bucket_holds_the_calls_of_a_minute(tier: Tier) -> None:
    limiter = RateLimiter()
    capacity = DEFAULT_PER_MINUTE[tier]
    assert all(limiter.take("a", tier, NOW).allowed for _ in range(capacity))
    refused = limiter.take("a", tier, NOW)
    assert not refused.allowed
    assert refused.capacity == capacity
    assert refused.retry_after_ms == 60_000 // capacity


@pytest.mark.parametrize(
    ("per_minute", "warned"), [(10, [2, 1, 0]), (5, [1, 0]), (1, [0]), (4, [0])]
)
def test_the_last_fifth_warns(per_minute: int, warned: list[int]) -> None:
    limiter = RateLimiter({Tier.HEAVY: per_minute})
    verdicts = [limiter.take("a", Tier.HEAVY, NOW) for _ in range(per_minute)]
    assert [verdict.remaining for verdict in verdicts if verdict.warn] == warned
    assert {verdict.capacity for verdict in verdicts if verdict.warn} == {per_minute}


def test_an_allowed_call_returns_the_shared_decision() -> None:
    assert RateLimiter().take("a", Tier.LIGHT, NOW) is ALLOWED


def test_a_bucket_refills_evenly() -> None:
    limiter = RateLimiter()
    for _ in range(10):
        limiter.take("a", Tier.HEAVY, NOW)
    assert not limiter.take("a", Tier.HEAVY, NOW + 5_999).allowed
    assert limiter.take("a", Tier.HEAVY, NOW + 6_000).allowed
    assert not limiter.take("a", Tier.HEAVY, NOW + 11_999).allowed
    assert limiter.take("a", Tier.HEAVY, NOW + 12_000).allowed
    assert sum(limiter.take("a", Tier.HEAVY, NOW + 10**9).allowed for _ in range(20)) == 10


def test_a_refused_call_costs_nothing() -> None:
    limiter = RateLimiter()
    for _ in range(50):
        limiter.take("a", Tier.HEAVY, NOW)
    assert limiter.take("a", Tier.HEAVY, NOW + 6_000).allowed


def test_each_key_and_tier_has_its_own_bucket() -> None:
    limiter = RateLimiter({Tier.HEAVY: 1, Tier.NORMAL: 1})
    assert limiter.take("a", Tier.HEAVY, NOW).allowed
    assert not limiter.take("a", Tier.HEAVY, NOW).allowed
    assert limiter.take("b", Tier.HEAVY, NOW).allowed
    assert limiter.take("a", Tier.NORMAL, NOW).allowed


def test_a_disabled_limiter_keeps_nothing() -> None:
    limiter = RateLimiter({Tier.HEAVY: 1}, enabled=False)
    assert all(limiter.take("a", Tier.HEAVY, NOW) is ALLOWED for _ in range(1000))
    assert len(limiter) == 0


def test_a_clock_set_back_grants_no_calls() -> None:
    limiter = RateLimiter({Tier.HEAVY: 2})
    assert limiter.take("a", Tier.HEAVY, NOW).allowed
    assert not limiter.take("a", Tier.HEAVY, NOW - 1).allowed
    assert limiter.take("a", Tier.HEAVY, NOW).allowed
    assert not limiter.take("a", Tier.HEAVY, NOW).allowed


def test_rotating_keys_do_not_grow_the_limiter() -> None:
    limiter = RateLimiter(max_keys=100)
    for i in range(10_000):
        assert limiter.take(f"k{i}", Tier.HEAVY, NOW).allowed
        assert len(limiter) <= 100


def test_a_bucket_in_use_outlives_rotating_keys() -> None:
    limiter = RateLimiter({Tier.HEAVY: 1}, max_keys=100)
    limiter.take("in use", Tier.HEAVY, NOW)
    for i in range(98):
        limiter.take(f"k{i}", Tier.HEAVY, NOW)
    assert not limiter.take("in use", Tier.HEAVY, NOW).allowed


def test_full_buckets_are_forgotten() -> None:
    limiter = RateLimiter()
    for i in range(1_000):
        limiter.take(f"old{i}", Tier.LIGHT, NOW)
    for i in range(500):
        limiter.take(f"new{i}", Tier.LIGHT, NOW + 500)
    assert len(limiter) == 500


@pytest.mark.parametrize("per_minute", [0, -1])
def test_a_limit_must_be_positive(per_minute: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RateLimiter({Tier.LIGHT: per_minute})


def test_tiers_have_wire_names() -> None:
    assert [tier.wire_name for tier in Tier] == ["light", "normal", "heavy"]


@given(
    st.integers(1, 1_000),
    st.lists(st.integers(0, 20_000), min_size=1, max_size=200),
)
def test_the_limiter_agrees_with_an_exact_token_bucket(per_minute: int, gaps: list[int]) -> None:
    """The textbook bucket, in units of 1/60000 of a call, says the same."""
    limiter = RateLimiter({Tier.NORMAL: per_minute})
    level, now = per_minute * 60_000, NOW
    for gap in gaps:
        now += gap
        level = min(level + gap * per_minute, per_minute * 60_000)
        verdict = limiter.take("a", Tier.NORMAL, now)
        assert verdict.allowed == (level >= 60_000)
        if verdict.allowed:
            level -= 60_000
            assert verdict.warn == (level // 60_000 * 5 <= per_minute)
            if verdict.warn:
                assert verdict.remaining == level // 60_000
        else:
            assert verdict.retry_after_ms == math.ceil((60_000 - level) / per_minute)


def test_new_limits_apply_at_once_and_unchanged_buckets_stay() -> None:
    limiter = RateLimiter({Tier.HEAVY: 2, Tier.NORMAL: 2})
    for _ in range(2):
        limiter.take("a", Tier.HEAVY, NOW)
        limiter.take("a", Tier.NORMAL, NOW)
    limiter.configure({Tier.HEAVY: 2, Tier.NORMAL: 5}, enabled=True)
    assert not limiter.take("a", Tier.HEAVY, NOW).allowed
    assert all(limiter.take("a", Tier.NORMAL, NOW).allowed for _ in range(5))
    assert not limiter.take("a", Tier.NORMAL, NOW).allowed
    limiter.configure({Tier.HEAVY: 2, Tier.NORMAL: 5}, enabled=False)
    assert limiter.take("a", Tier.HEAVY, NOW).allowed
    with pytest.raises(ValueError, match="at least 1"):
        limiter.configure({Tier.HEAVY: 0}, enabled=True)
