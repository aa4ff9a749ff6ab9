"""Makes parts of the hub from its settings: the store and the rate limiters."""

from collections.abc import Callable

from hub.base.data_dir import KEY_FILE, STORE_FILE
from hub.base.load_settings import StartError
from hub.base.settings import RateLimitSettings, Settings
from hub.contract.rpcs import Tier
from hub.service.access.access_control import AccessControl
from hub.service.access.browser_sessions import BrowserSessions
from hub.service.access.certificates import CertificateIdentities
from hub.service.access.rate_limits import RateLimiter
from hub.service.access.tokens import TokenRegistry
from hub.stores.keyring import KeySource
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


def make_key_source(settings: Settings) -> KeySource:
    """Where the key ring of the store's secrets comes from."""
    secrets = settings.secrets
    return KeySource(settings.data_dir / KEY_FILE, text=secrets.key, file=secrets.key_file)


def make_access(settings: Settings) -> AccessControl:
    """What callers are checked against; the store fills in tokens and sessions."""
    tokens = TokenRegistry()
    return AccessControl(
        tokens,
        BrowserSessions(tokens),
        make_limiters(settings.rate_limits),
        certificates=CertificateIdentities(settings.tls.identities),
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
