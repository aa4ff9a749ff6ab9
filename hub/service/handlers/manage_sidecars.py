"""AdminService: the connected sidecars, and the hub itself."""

from collections.abc import Callable
from operator import attrgetter

from hub.contract.errors import SidecarNotFound
from hub.service.access.caller import Caller
from hub.service.handlers.paging import Pager
from hub.service.presence import Presence, disconnected
from llmhub.v1.admin_service_pb2 import (
    DisconnectSidecarRequest,
    DisconnectSidecarResponse,
    GetServerInfoRequest,
    GetServerInfoResponse,
    ListSidecarsRequest,
    ListSidecarsResponse,
)


class ServerHandlers:
    """Lists and disconnects sidecars, and describes the hub."""

    def __init__(
        self, presence: Presence, server_info: Callable[[], GetServerInfoResponse]
    ) -> None:
        self._presence = presence
        self._server_info = server_info

    def list_sidecars(
        self, request: ListSidecarsRequest, _caller: Caller, _now_ms: int
    ) -> ListSidecarsResponse:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        following = (each for each in self._presence.sidecars() if each.agent_id > pager.after)
        sidecars, token = pager.cut(following, attrgetter("agent_id"))
        return ListSidecarsResponse(
            sidecars=[each.info() for each in sidecars], next_page_token=token
        )

    def disconnect_sidecar(
        self, request: DisconnectSidecarRequest, _caller: Caller, _now_ms: int
    ) -> DisconnectSidecarResponse:
        """Raises SidecarNotFound."""
        sidecar = self._presence.get(request.agent_id)
        if sidecar is None:
            raise SidecarNotFound(
                f"no sidecar of the agent {request.agent_id} is connected",
                metadata={"agent_id": request.agent_id},
            )
        sidecar.connection.close(disconnected(request.reason))
        return DisconnectSidecarResponse()

    def get_server_info(
        self, _request: GetServerInfoRequest, _caller: Caller, _now_ms: int
    ) -> GetServerInfoResponse:
        """Describes the hub itself."""
        return self._server_info()
