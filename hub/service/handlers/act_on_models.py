"""Model actions: admins request them, sidecars report the outcome."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from hub.base.settings import ActionSettings
from hub.contract.action_errors import (
    ActionFailed,
    ActionOutcomeUnknown,
    ActionRefused,
    ActionsDisabled,
    ActionUnsupported,
)
from hub.contract.errors import EndpointNotFound, HubError, ModelNotOnEndpoint, SidecarNotFound
from hub.probes.engine import ProbeEngine
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.changes.audit_trail import AuditTrail, Author
from hub.service.changes.commits import Commits
from hub.service.model_actions import CAPABILITY, ModelActions
from hub.service.presence import Presence, Sidecar
from llmhub.v1.admin_service_pb2 import (
    LoadModelRequest,
    LoadModelResponse,
    UnloadModelRequest,
    UnloadModelResponse,
)
from llmhub.v1.audit_pb2 import AuditState, ModelActionState
from llmhub.v1.endpoint_pb2 import Endpoint, Model
from llmhub.v1.frame_pb2 import (
    MODEL_ACTION_KIND_LOAD,
    MODEL_ACTION_KIND_UNLOAD,
    MODEL_ACTION_OUTCOME_DONE,
    MODEL_ACTION_OUTCOME_FAILED,
    MODEL_ACTION_OUTCOME_REFUSED,
    MODEL_ACTION_OUTCOME_UNKNOWN,
    MODEL_ACTION_OUTCOME_UNSUPPORTED,
    ModelAction,
    ModelActionKind,
    ReportModelActionRequest,
    ReportModelActionResponse,
)

log = structlog.get_logger()

# For the probe after the action, so that the reply shows the model as it is then.
_CHECK_TIMEOUT_S = 10.0

_WORDS: Final = {MODEL_ACTION_KIND_LOAD: "load", MODEL_ACTION_KIND_UNLOAD: "unload"}
_RPCS: Final = {MODEL_ACTION_KIND_LOAD: "LoadModel", MODEL_ACTION_KIND_UNLOAD: "UnloadModel"}
_ERRORS: Final[Mapping[int, type[HubError]]] = {
    MODEL_ACTION_OUTCOME_REFUSED: ActionRefused,
    MODEL_ACTION_OUTCOME_UNSUPPORTED: ActionUnsupported,
    MODEL_ACTION_OUTCOME_FAILED: ActionFailed,
    MODEL_ACTION_OUTCOME_UNKNOWN: ActionOutcomeUnknown,
}
_TAKEN = ReportModelActionResponse()


@dataclass(frozen=True, slots=True)
class ModelActionContext:
    """What model actions need of the hub."""

    registry: Registry
    probes: ProbeEngine
    presence: Presence
    commits: Commits
    trail: AuditTrail


class ModelActionHandlers:
    """Checks, sends and audits model actions."""

    def __init__(self, settings: ActionSettings, context: ModelActionContext) -> None:
        self._settings = settings
        self._context = context
        self._actions = ModelActions(context.presence)
        self._tasks: set[asyncio.Task[Model | None]] = set()

    async def load_model(
        self, request: LoadModelRequest, caller: Caller, now_ms: int
    ) -> LoadModelResponse:
        """Raises the errors of `_act`."""
        model, agent_id = await self._act(MODEL_ACTION_KIND_LOAD, request, caller, now_ms)
        return LoadModelResponse(model=model, agent_id=agent_id)

    async def unload_model(
        self, request: UnloadModelRequest, caller: Caller, now_ms: int
    ) -> UnloadModelResponse:
        """Raises the errors of `_act`."""
        model, agent_id = await self._act(MODEL_ACTION_KIND_UNLOAD, request, caller, now_ms)
        return UnloadModelResponse(model=model, agent_id=agent_id)

    def report_model_action(
        self, request: ReportModelActionRequest, caller: Caller, _now_ms: int
    ) -> ReportModelActionResponse:
        """Takes a sidecar's result."""
        self._actions.report(caller.principal.agent_id, request)
        return _TAKEN

    async def _act(
        self,
        kind: ModelActionKind,
        request: LoadModelRequest | UnloadModelRequest,
        caller: Caller,
        now_ms: int,
    ) -> tuple[Model | None, str]:
        """Returns the model after the action, and the sidecar's agent.

        Raises ActionsDisabled, EndpointNotFound, ModelNotOnEndpoint, SidecarNotFound,
        ActionUnsupported, ActionInProgress, LimitReached, and the errors of `_ERRORS`.
        """
        word = _WORDS[kind]
        self._require_allowed(word)
        endpoint = self._endpoint(request.endpoint_id)
        model = _model(endpoint, request.model)
        sidecar = self._sidecar(endpoint)
        if request.validate_only:
            return model, sidecar.agent_id
        action = ModelAction(kind=kind, endpoint_id=endpoint.id, model=model.name)
        if isinstance(request, LoadModelRequest) and request.HasField("keep_alive"):
            action.keep_alive.CopyFrom(request.keep_alive)
        timeout_s = self._settings.timeout_s
        if request.HasField("timeout"):
            timeout_s = min(timeout_s, request.timeout.ToMilliseconds() / 1000)
        author = Author(self._context.trail, caller, _RPCS[kind], now_ms)
        # A caller that leaves must not leave the action without its audit event.
        task = asyncio.create_task(
            self._carry_out(action, model, sidecar, timeout_s, author), name=f"{word} {model.name}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task), sidecar.agent_id

    def _ended(self, task: asyncio.Task[Model | None]) -> None:
        self._tasks.discard(task)
        # The caller gets the error too, unless it has left.
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("model action did not succeed", action=task.get_name(), why=str(error))

    async def _carry_out(
        self,
        action: ModelAction,
        model: Model,
        sidecar: Sidecar,
        timeout_s: float,
        author: Author,
    ) -> Model | None:
        before = ModelActionState(model=model.name, state=model.state)
        context = self._context
        with self._actions.claim(action.endpoint_id):
            log.info(
                "model action begins",
                action=author.action,
                endpoint=action.endpoint_id,
                model=model.name,
                agent_id=sidecar.agent_id,
                token_id=author.caller.principal.token_id,
            )
            # While it loads, this shows in the model's state and as an event.
            context.probes.hasten(action.endpoint_id, is_doubted=False)
            try:
                result = await self._actions.run(sidecar, action, timeout_s)
            except ActionOutcomeUnknown as error:
                result = ReportModelActionRequest(
                    action_id=action.action_id,
                    outcome=MODEL_ACTION_OUTCOME_UNKNOWN,
                    detail=error.message,
                )
            after = await self._probed_model(action.endpoint_id, model.name)
            state = ModelActionState(
                model=model.name,
                state=after.state if after is not None else None,
                outcome=result.outcome,
                detail=result.detail,
            )
            await context.commits.write(
                author.operations(
                    f"endpoints/{action.endpoint_id}",
                    AuditState(model_action=before),
                    AuditState(model_action=state),
                )
            )
        log.info(
            "model action ended",
            action=author.action,
            endpoint=action.endpoint_id,
            model=model.name,
            done=result.outcome == MODEL_ACTION_OUTCOME_DONE,
            detail=result.detail,
        )
        if result.outcome != MODEL_ACTION_OUTCOME_DONE:
            detail = result.detail or "the sidecar gave no reason"
            raise _ERRORS.get(result.outcome, ActionOutcomeUnknown)(
                detail, metadata={"id": action.endpoint_id, "model": model.name}
            )
        return after

    async def _probed_model(self, endpoint_id: str, name: str) -> Model | None:
        """The model as a new probe sees it, or as known before if the probe fails."""
        try:
            await self._context.probes.check(endpoint_id, _CHECK_TIMEOUT_S)
        except (HubError, TimeoutError) as error:
            log.warning("no probe after a model action", endpoint=endpoint_id, why=str(error))
        record = self._context.registry.get(endpoint_id)
        models = record.message.models if record is not None else ()
        return next((model for model in models if model.name == name), None)

    def _require_allowed(self, word: str) -> None:
        if not self._settings.enabled:
            raise ActionsDisabled("model actions are disabled: set actions.enabled to allow them")
        if word not in self._settings.allow:
            raise ActionsDisabled(f'the setting actions.allow does not have "{word}"')

    def _endpoint(self, id_: str) -> Endpoint:
        record = self._context.registry.get(id_)
        if record is None:
            raise EndpointNotFound(f"there is no endpoint {id_}", metadata={"id": id_})
        return record.message

    def _sidecar(self, endpoint: Endpoint) -> Sidecar:
        agent_id = endpoint.agent_id
        if not agent_id:
            raise SidecarNotFound(
                f"no sidecar reports {endpoint.id}: only the sidecar on its host can do this"
            )
        sidecar = self._context.presence.get(agent_id)
        if sidecar is None:
            raise SidecarNotFound(
                f"the sidecar {agent_id} of {endpoint.id} is not connected",
                metadata={"agent_id": agent_id},
            )
        if CAPABILITY not in sidecar.capabilities:
            raise ActionUnsupported(
                f"the sidecar {agent_id} does not carry out model actions: "
                "start it with --allow-actions",
                metadata={"agent_id": agent_id},
            )
        return sidecar


def _model(endpoint: Endpoint, name: str) -> Model:
    for wanted in (name, f"{name}:latest"):
        for model in endpoint.models:
            if model.name == wanted:
                return model
    raise ModelNotOnEndpoint(
        f"{endpoint.id} does not have the model {name}",
        metadata={"id": endpoint.id, "model": name},
    )
