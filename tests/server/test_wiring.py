from pathlib import Path

from hub.base.settings import RateLimitSettings, Settings, TierLimits
from hub.contract.rpcs import Tier
from hub.server.wiring import limits_by_role, make_limiters, make_store
from hub.stores.sqlite import SqliteStore
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR


def test_each_role_has_its_configured_limits() -> None:
    limits = RateLimitSettings(sidecar=TierLimits(light=3, normal=2, heavy=1))
    assert limits_by_role(limits)[ROLE_SIDECAR] == {
        Tier.LIGHT: 3,
        Tier.NORMAL: 2,
        Tier.HEAVY: 1,
    }
    limiters = make_limiters(limits)
    assert set(limiters) == {ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR}
    assert limiters[ROLE_SIDECAR].take("a", Tier.HEAVY, 0).allowed
    assert not limiters[ROLE_SIDECAR].take("a", Tier.HEAVY, 0).allowed
    assert limiters[ROLE_ADMIN].take("a", Tier.HEAVY, 0).allowed


def test_disabled_limits_allow_everything() -> None:
    limits = RateLimitSettings(enabled=False, sidecar=TierLimits(light=1, normal=1, heavy=1))
    limiter = make_limiters(limits)[ROLE_SIDECAR]
    assert all(limiter.take("a", Tier.HEAVY, 0).allowed for _ in range(10))


def test_without_etcd_the_store_is_a_file(tmp_path: Path) -> None:
    store = make_store(Settings(data_dir=tmp_path), lambda _batches, _seconds: None)
    assert isinstance(store, SqliteStore)
