"""Model aliases and the audit trail, as RPCs."""

from operator import attrgetter

from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.changes.alias_book import AliasBook
from hub.service.changes.audit_trail import AuditTrail, Author
from hub.service.handlers.paging import Pager
from llmhub.v1.admin_service_pb2 import (
    ListAuditEventsRequest,
    ListAuditEventsResponse,
    RemoveModelAliasRequest,
    RemoveModelAliasResponse,
    SetModelAliasRequest,
    SetModelAliasResponse,
)
from llmhub.v1.registry_service_pb2 import ListModelAliasesRequest, ListModelAliasesResponse


class AliasHandlers:
    """Changes and lists aliases; lists what admins have changed."""

    def __init__(self, registry: Registry, book: AliasBook, trail: AuditTrail) -> None:
        self._registry = registry
        self._book = book
        self._trail = trail

    async def set_model_alias(
        self, request: SetModelAliasRequest, caller: Caller, now_ms: int
    ) -> SetModelAliasResponse:
        """Raises EtagMismatch, LimitReached, StoreUnavailable."""
        author = Author(self._trail, caller, "SetModelAlias", now_ms)
        return SetModelAliasResponse(alias=await self._book.set(request.alias, author))

    async def remove_model_alias(
        self, request: RemoveModelAliasRequest, caller: Caller, now_ms: int
    ) -> RemoveModelAliasResponse:
        """Raises AliasNotFound, EtagMismatch, StoreUnavailable."""
        author = Author(self._trail, caller, "RemoveModelAlias", now_ms)
        await self._book.remove(request.name, request.etag, author)
        return RemoveModelAliasResponse()

    def list_model_aliases(
        self, request: ListModelAliasesRequest, _caller: Caller, _now_ms: int
    ) -> ListModelAliasesResponse:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        aliases = {name: record.message for name, record in self._registry.aliases.items()}
        following = (aliases[name] for name in sorted(aliases) if name > pager.after)
        page, token = pager.cut(following, attrgetter("name"))
        return ListModelAliasesResponse(
            aliases=page, next_page_token=token, revision=self._registry.revision
        )

    def list_audit_events(
        self, request: ListAuditEventsRequest, _caller: Caller, _now_ms: int
    ) -> ListAuditEventsResponse:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        matching = (
            event
            for event in self._trail.events(pager.after)
            if (not request.resource or event.resource == request.resource)
            and (not request.token_id or event.token_id == request.token_id)
        )
        page, token = pager.cut(matching, attrgetter("id"))
        return ListAuditEventsResponse(events=page, next_page_token=token)
