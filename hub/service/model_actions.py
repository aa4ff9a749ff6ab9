"""Model actions in progress: sent to sidecars, each awaited until its result or deadline."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from hub.contract.action_errors import ActionInProgress, ActionOutcomeUnknown
from hub.contract.errors import LimitReached
from hub.service.presence import Presence, Sidecar
from llmhub.v1.frame_pb2 import HubFrame, ModelAction, ReportModelActionRequest

CAPABILITY: Final = "model-actions"
"""The capability that a sidecar lists in `identify` if it carries out model actions."""

MAX_ACTIONS: Final = 256
"""How many actions may be in progress in the whole fleet."""


@dataclass(frozen=True, slots=True)
class _Pending:
    sidecar: Sidecar
    result: asyncio.Future[ReportModelActionRequest]


class ModelActions:
    """Sends actions and passes each result to the call that waits for it."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence
        self._pending: dict[str, _Pending] = {}
        self._busy: set[str] = set()
        presence.on_change(self._on_presence_change)

    def __len__(self) -> int:
        """How many actions are in progress."""
        return len(self._busy)

    @contextmanager
    def claim(self, endpoint_id: str) -> Iterator[None]:
        """Keeps other actions off an endpoint. Raises ActionInProgress, LimitReached."""
        if endpoint_id in self._busy:
            raise ActionInProgress(
                f"another model action on {endpoint_id} has not ended yet",
                metadata={"id": endpoint_id},
            )
        if len(self._busy) >= MAX_ACTIONS:
            raise LimitReached(f"{MAX_ACTIONS} model actions are already in progress")
        self._busy.add(endpoint_id)
        try:
            yield
        finally:
            self._busy.discard(endpoint_id)

    async def run(
        self, sidecar: Sidecar, action: ModelAction, timeout_s: float
    ) -> ReportModelActionRequest:
        """Sends an action, which gets its id here, and returns its result.

        Raises ActionOutcomeUnknown if the sidecar disconnects or reports nothing in time.
        """
        action.action_id = secrets.token_hex(8)
        action.timeout.FromMilliseconds(round(timeout_s * 1000))
        result: asyncio.Future[ReportModelActionRequest] = (
            asyncio.get_running_loop().create_future()
        )
        self._pending[action.action_id] = _Pending(sidecar, result)
        try:
            sidecar.connection.send(HubFrame(model_action=action))
            async with asyncio.timeout(timeout_s):
                return await result
        except TimeoutError:
            raise ActionOutcomeUnknown(
                f"the sidecar {sidecar.agent_id} reported no result within {timeout_s:g} s; "
                "the action may still be carried out"
            ) from None
        finally:
            del self._pending[action.action_id]

    def report(self, agent_id: str, result: ReportModelActionRequest) -> None:
        """Takes a result; ignores one for an unknown action or for another agent's."""
        pending = self._pending.get(result.action_id)
        if pending is None or pending.sidecar.agent_id != agent_id or pending.result.done():
            return
        pending.result.set_result(result)

    def _on_presence_change(self, agent_id: str) -> None:
        """Fails the actions of connections that ended: no other connection brings the result."""
        connected = self._presence.get(agent_id)
        for pending in self._pending.values():
            sidecar, result = pending.sidecar, pending.result
            if sidecar.agent_id == agent_id and sidecar is not connected and not result.done():
                result.set_exception(
                    ActionOutcomeUnknown(
                        f"the sidecar {agent_id} disconnected before it reported a result; "
                        "the action may still be carried out"
                    )
                )
