"""What the hub's capabilities take from its settings."""

from collections.abc import Callable

from hub.base.probe_settings import ProbeSettings
from hub.base.settings import STORE_FILE, ProbeConfig, RateLimits, Settings
from hub.base.start_error import StartError
from hub.contract.rpcs import Tier
from hub.registry.health.judgement import HealthSettings
from hub.service.access.rate_limits import RateLimiter
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Store, TransactionObserver
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, Role


def make_store(
    settings: Settings,
    on_transaction: TransactionObserver,
    on_failure: Callable[[], None] = lambda: None,
) -> Store:
    """The store that the settings ask for. Raises StartError.

    `on_failure` is called if its feed of changes has ended for good.
    """
    if not settings.store.etcd:
        return SqliteStore(settings.data_dir / STORE_FILE, on_transaction=on_transaction)
    try:
        # An extra: most hubs keep their store in one file.
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


def make_limiters(limits: RateLimits) -> dict[Role, RateLimiter]:
    """A limiter for each role of callers."""
    return {
        role: RateLimiter(tiers, enabled=limits.enabled)
        for role, tiers in limits_by_role(limits).items()
    }


def limits_by_role(limits: RateLimits) -> dict[Role, dict[Tier, int]]:
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


def probe_settings(config: ProbeConfig) -> ProbeSettings:
    """The settings of the probes, as their engine takes them."""
    return ProbeSettings(
        interval_s=config.interval_s,
        jitter=config.jitter,
        connect_timeout_s=config.connect_timeout_s,
        total_timeout_s=config.total_timeout_s,
        unhealthy_after=config.unhealthy_after,
        concurrency=config.concurrency,
        doubtful_concurrency=config.doubtful_concurrency,
        asked_concurrency=config.asked_concurrency,
        per_host=config.per_host,
        max_body_bytes=config.max_body_bytes,
        allow=tuple(str(block) for block in config.allow),
        deny=tuple(str(block) for block in config.deny),
    )


def health_settings(settings: Settings) -> HealthSettings:
    """What the settings say of when probes are believed."""
    flapping, preservation = settings.flapping, settings.preservation
    return HealthSettings(
        unhealthy_after=settings.probes.unhealthy_after,
        interval_ms=round(settings.probes.interval_s * 1000),
        flap_changes=flapping.changes,
        flap_window_ms=round(flapping.window_s * 1000),
        flap_hold_ms=round(flapping.hold_s * 1000),
        preserve_share=preservation.share,
        preserve_least=preservation.min_endpoints,
        preserve_confirm_ms=round(preservation.confirm_s * 1000),
    )
