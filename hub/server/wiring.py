"""Makes parts of the hub from its settings: the store and the rate limiters."""

from collections.abc import Callable

from hub.base.data_dir import STORE_FILE
from hub.base.load_settings import StartError
from hub.base.settings import RateLimitSettings, Settings
from hub.contract.rpcs import Tier
from hub.service.access.rate_limits import RateLimiter
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Store, TransactionObserver
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, Role


def make_store(
    settings: Settings,
    on_transaction: TransactionObserver,
    on_failure: Callable[[], None] = lambda: None,
) -> Store:
    """The store that the settings name. Raises StartError.

    `on_failure` is called if its feed of changes has ended for good.
    """
    if not settings.store.etcd:
        return SqliteStore(settings.data_dir / STORE_FILE, on_transaction=on_transaction)
    try:
        # An optional dependency: most hubs store everything in one file.
        from hub.stores.etcd import EtcdStore
    except ImportError as error:
        raise StartError(
            "store.etcd needs the extra: pip install '.[etcd]' in a clone of the hub"
        ) from error
    return EtcdStore(
        settings.store.etcd,
        prefix=settings.store.etcd_prefix,
        on_transaction=on_transaction,
        on_failure=on_failure,
    )


def make_limiters(limits: RateLimitSettings) -> dict[Role, RateLimiter]:
    """One limiter per role."""
    return {
        role: RateLimiter(tiers, enabled=limits.enabled)
        for role, tiers in limits_by_role(limits).items()
    }


def limits_by_role(limits: RateLimitSettings) -> dict[Role, dict[Tier, int]]:
    """Calls per minute by the caller's role and the call's tier."""
    by_role = {
        ROLE_SIDECAR: limits.sidecar,
        ROLE_READER: limits.reader,
        ROLE_ADMIN: limits.admin,
    }
    return {
        role: {Tier.LIGHT: tiers.light, Tier.NORMAL: tiers.normal, Tier.HEAVY: tiers.heavy}
        for role, tiers in by_role.items()
    }
