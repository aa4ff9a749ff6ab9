from pathlib import Path

from hub.contract.rpcs import rpc
from tests.support.hub import running_hub


async def test_a_hub_answers_every_rpc_and_operation(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        unanswered = {
            called.name
            for called, route in hub.dispatcher._routes.items()
            if route.handler.__name__ == "refuse"
        }
    # The frames of its stream are answered one by one.
    assert unanswered == {rpc("Connect").name}
