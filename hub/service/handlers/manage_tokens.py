"""AdminService: tokens."""

from operator import attrgetter
from typing import Final

from hub.contract.errors import LimitReached, TokenNotFound
from hub.service.access import scopes
from hub.service.access.caller import Caller
from hub.service.access.token_uses import TokenUses
from hub.service.access.tokens import TokenRegistry
from hub.service.changes.audit_trail import AuditTrail, Author
from hub.service.changes.commits import Commits
from hub.service.handlers.paging import Pager
from hub.service.records import name_of, token_key, use_key
from hub.stores.store import Delete, Expect, Operation, PreconditionFailed
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    CreateTokenResponse,
    ListTokensRequest,
    ListTokensResponse,
    RevokeTokenRequest,
    RevokeTokenResponse,
)
from llmhub.v1.audit_pb2 import AuditState
from llmhub.v1.resources_pb2 import TokenInfo

# etcd takes 128 operations in a transaction, and a token may have a record of its last use.
# The next new token prunes the rest.
_PRUNED_AT_ONCE: Final = 48


class TokenHandlers:
    """Creates, lists and revokes tokens."""

    def __init__(
        self,
        commits: Commits,
        tokens: TokenRegistry,
        uses: TokenUses,
        trail: AuditTrail,
        *,
        max_tokens: int,
    ) -> None:
        self._uses = uses
        self._commits = commits
        self._tokens = tokens
        self._trail = trail
        self._max_tokens = max_tokens
        self._creating: set[str] = set()

    async def create_token(
        self, request: CreateTokenRequest, caller: Caller, now_ms: int
    ) -> CreateTokenResponse:
        """Raises ValidationFailed, LimitReached, StoreUnavailable."""
        scopes.check(request.scope)
        # Counts the tokens that are being written, unless they are already in the registry.
        coming = sum(self._tokens.get(token_id) is None for token_id in self._creating)
        if self._tokens.count_valid(now_ms) + coming >= self._max_tokens:
            raise LimitReached(f"there are already {self._max_tokens} valid tokens; revoke some")
        ttl_ms = request.ttl.ToMilliseconds() if request.HasField("ttl") else None
        secret, info, put = self._tokens.mint(
            role=request.role,
            agent_id=request.agent_id,
            ttl_ms=ttl_ms,
            description=request.description,
            now_ms=now_ms,
            # A scope without limits is none.
            scope=request.scope if request.scope.ByteSize() else None,
        )
        author = Author(self._trail, caller, "CreateToken", now_ms)
        audit = author.operations(token_key(info.id), None, AuditState(token_info=info))
        # Each new token also removes some that expired long ago from the store.
        outdated = self._tokens.outdated(now_ms)[:_PRUNED_AT_ONCE]
        prune = [each for key in outdated for each in self._removal(name_of(key))]
        self._creating.add(info.id)
        try:
            await self._commits.write([put, *prune, *audit])
        finally:
            self._creating.discard(info.id)
        return CreateTokenResponse(token=secret, token_info=info)

    def list_tokens(
        self, request: ListTokensRequest, _caller: Caller, now_ms: int
    ) -> ListTokensResponse:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        found = self._tokens.list(now_ms, include_expired=request.include_expired)
        page, token = pager.cut((info for info in found if info.id > pager.after), attrgetter("id"))
        return ListTokensResponse(tokens=map(self._with_use, page), next_page_token=token)

    async def revoke_token(
        self, request: RevokeTokenRequest, caller: Caller, now_ms: int
    ) -> RevokeTokenResponse:
        """Raises TokenNotFound, StoreUnavailable."""
        info = self._tokens.get(request.id)
        if info is None:
            raise _no_token(request.id)
        author = Author(self._trail, caller, "RevokeToken", now_ms)
        audit = author.operations(token_key(request.id), AuditState(token_info=info), None)
        expect = Expect(token_key(request.id), self._tokens.written_at(request.id))
        try:
            await self._commits.write([*self._removal(request.id), *audit], expect)
        except PreconditionFailed:
            # Another call was faster and has written the audit event.
            raise _no_token(request.id) from None
        return RevokeTokenResponse()

    def _removal(self, token_id: str) -> list[Operation]:
        removal: list[Operation] = [Delete(token_key(token_id))]
        if self._uses.is_stored(token_id):
            removal.append(Delete(use_key(token_id)))
        return removal

    def _with_use(self, info: TokenInfo) -> TokenInfo:
        use = self._uses.last(info.id)
        if use is None:
            return info
        shown = TokenInfo(last_used_from=use.address)
        shown.last_used_at.FromMilliseconds(use.at_ms)
        shown.MergeFrom(info)
        return shown


def _no_token(token_id: str) -> TokenNotFound:
    return TokenNotFound(f"there is no token {token_id}", metadata={"id": token_id})
