"""The hub's durable state, and everything in memory that follows it."""

from collections.abc import Callable
from pathlib import Path

import structlog

from hub.base.load_settings import StartError
from hub.base.settings import RateLimitSettings, Settings
from hub.server.fleet import Fleet
from hub.server.observability import Observability
from hub.server.wiring import limits_by_role, make_access, make_key_source, make_store
from hub.service.access.tokens import Revocations
from hub.service.changes.alias_book import AliasFollower
from hub.service.changes.audit_trail import AuditTrail
from hub.service.changes.fleet_follower import FleetFollower
from hub.service.changes.use_recorder import UseRecorder
from hub.service.handlers.observe_hub import Backup
from hub.service.records import (
    ALIASES,
    AUDIT,
    ENDPOINTS,
    SECRETS,
    SESSIONS,
    TOKENS,
    USES,
    RecordRouter,
)
from hub.stores.sealed import SealedStore
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Change, Contents, StoreError

log = structlog.get_logger()


class Storage:
    """The store, with the tokens, browser sessions and audit events that it holds."""

    def __init__(
        self, settings: Settings, observability: Observability, on_failure: Callable[[], None]
    ) -> None:
        """`on_failure` is called if the store's feed of changes has ended for good."""
        self.directory: Path = settings.data_dir
        self._engine = make_store(settings, observability.store_counts.add, on_failure)
        self.store = SealedStore(self._engine, make_key_source(settings))
        self.access = make_access(settings)
        self.trail = AuditTrail()
        self._router: RecordRouter | None = None
        self._use_recorder = UseRecorder(self.store, self.access.uses)

    @property
    def backup(self) -> Backup | None:
        """Copies the store to a new file; None if the store has its own backup tool."""
        return self._engine.backup if isinstance(self._engine, SqliteStore) else None

    def limit_rates(self, limits: RateLimitSettings) -> None:
        """Applies new rate limits from now on."""
        for role, tiers in limits_by_role(limits).items():
            self.access.limiters[role].configure(tiers, enabled=limits.enabled)

    async def open(self) -> Contents:
        """Opens the store and returns what it holds. Raises StoreError."""
        contents = await self.store.open(self._changed)
        if contents.known_revision > contents.revision:
            log.error(
                "the store has lost changes that were acknowledged: its log is damaged, or an"
                " older copy has taken its place; check the disk, and what was last changed",
                acknowledged=contents.known_revision,
                found=contents.revision,
            )
        return contents

    def load(self, contents: Contents, fleet: Fleet, token_removed: Callable[[str], None]) -> None:
        """Loads the contents, and from then on applies every change. Raises StoreError.

        `token_removed` is called with the id of each token that is revoked or pruned.
        """
        uses = self.access.uses
        follower = FleetFollower(fleet.registry, fleet.probes)
        self._router = RecordRouter(
            {
                ENDPOINTS: [follower],
                SECRETS: [follower, fleet.gateways.keys],
                TOKENS: [self.access.tokens, Revocations(token_removed), Revocations(uses.forget)],
                USES: [uses],
                SESSIONS: [self.access.browser_sessions],
                ALIASES: [AliasFollower(fleet.registry)],
                AUDIT: [self.trail],
            }
        )
        self._router.load(contents)
        follower.starting = False

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begins to write when tokens were used."""
        self._use_recorder.start(on_failure)

    async def seal(self) -> None:
        """Encrypts the secrets that are not encrypted with the current key. Raises StoreError."""
        were_plain = await self.store.reseal()
        if were_plain and isinstance(self._engine, SqliteStore):
            # The plain values are still in pages that are free now.
            await self._engine.scrub()

    async def reload_keys(self) -> None:
        """Reads the key ring again, after a rotation.

        Raises StartError, and then all is encrypted as before, or a part with the new key.
        """
        try:
            self.store.reload()
            await self.seal()
        except StoreError as error:
            raise StartError(str(error)) from error

    async def close(self) -> None:
        """Writes what is pending and closes the store. Idempotent."""
        await self._use_recorder.stop()
        await self.store.close()

    def _changed(self, change: Change) -> None:
        if self._router is not None:
            self._router.apply(change)
