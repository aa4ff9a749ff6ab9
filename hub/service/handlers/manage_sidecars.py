"""AdminService: the connected sidecars, and the hub itself."""

from collections.abc import Callable

from hub.contract.errors import SidecarNotFound
from hub.service.access.caller import Caller
from hub.service.handlers.paging import decode_page_token, encode_page_token, page_size
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
        after, size = decode_page_token(request), page_size(request.page_size)
        sidecars = [one for one in self._presence.sidecars() if one.agent_id > after]
        token = ""
        if len(sidecars) > size:
            token = encode_page_token(request, sidecars[size - 1].agent_id)
        return ListSidecarsResponse(
            sidecars=[one.info() for one in sidecars[:size]], next_page_token=token
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
