import asyncio

import pytest

from hub.contract.action_errors import ActionInProgress, ActionOutcomeUnknown
from hub.contract.errors import LimitReached
from hub.service.model_actions import MAX_ACTIONS, ModelActions
from hub.service.presence import Presence
from llmhub.v1.frame_pb2 import (
    MODEL_ACTION_KIND_LOAD,
    MODEL_ACTION_OUTCOME_DONE,
    ModelAction,
    ReportModelActionRequest,
)
from tests.support.sidecars import RecordingConnection, sidecar

ACTION = ModelAction(kind=MODEL_ACTION_KIND_LOAD, endpoint_id="h:1", model="m")


class Asked:
    """An action that a sidecar has been sent and has not answered."""

    def __init__(self) -> None:
        self.presence = Presence()
        self.actions = ModelActions(self.presence)
        self.connection = RecordingConnection()
        self.sidecar = sidecar("node-1", connection=self.connection)
        self.presence.join(self.sidecar)

    async def start(self, timeout_s: float = 10.0) -> asyncio.Task[ReportModelActionRequest]:
        action = ModelAction()
        action.CopyFrom(ACTION)
        task = asyncio.create_task(self.actions.run(self.sidecar, action, timeout_s))
        await asyncio.sleep(0)
        return task

    def result(self) -> ReportModelActionRequest:
        [frame] = self.connection.sent
        return ReportModelActionRequest(
            action_id=frame.model_action.action_id, outcome=MODEL_ACTION_OUTCOME_DONE
        )


async def test_the_result_goes_to_the_call_that_waits_for_it() -> None:
    asked = Asked()
    task = await asked.start(timeout_s=2.5)
    [frame] = asked.connection.sent
    assert frame.model_action.timeout.ToMilliseconds() == 2_500
    result = asked.result()
    asked.actions.report("node-1", result)
    assert await task == result
    asked.actions.report("node-1", result)


async def test_a_foreign_result_is_ignored() -> None:
    asked = Asked()
    task = await asked.start()
    asked.actions.report("node-2", asked.result())
    asked.actions.report("node-1", ReportModelActionRequest(action_id="other"))
    await asyncio.sleep(0)
    assert not task.done()
    asked.actions.report("node-1", asked.result())
    await task


async def test_a_sidecar_that_leaves_or_returns_leaves_the_outcome_unknown() -> None:
    asked = Asked()
    task = await asked.start()
    asked.presence.leave(sidecar("node-2"))
    assert not task.done()
    asked.presence.join(sidecar("node-1"))
    with pytest.raises(ActionOutcomeUnknown, match="disconnected before it reported"):
        await task


async def test_a_silent_sidecar_hits_the_deadline() -> None:
    asked = Asked()
    task = await asked.start(timeout_s=0.01)
    with pytest.raises(ActionOutcomeUnknown, match=r"no result within 0\.01 s"):
        await task


def test_an_endpoint_has_one_action_at_a_time_and_the_fleet_a_bounded_number() -> None:
    actions = ModelActions(Presence())
    claims = [actions.claim(f"h:{number}") for number in range(MAX_ACTIONS)]
    for claim in claims:
        claim.__enter__()
    with pytest.raises(ActionInProgress), actions.claim("h:0"):
        pass
    with pytest.raises(LimitReached), actions.claim("h:new"):
        pass
    claims[0].__exit__(None, None, None)
    with actions.claim("h:0"):
        assert len(actions) == MAX_ACTIONS
