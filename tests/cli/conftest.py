from collections.abc import Callable, Iterator

import pytest

from tests.support.command import Outcome, llm_hub
from tests.support.grpc_stand_in import ADMIN_TOKEN, StandIn, running_stand_in

Ask = Callable[..., Outcome]


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with running_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def ask(hub: StandIn) -> Ask:
    """Runs a command against the hub with the admin's token."""

    def run(*arguments: str, **rest: object) -> Outcome:
        return llm_hub("--hub", hub.address, "--token", ADMIN_TOKEN, *arguments, **rest)

    return run
