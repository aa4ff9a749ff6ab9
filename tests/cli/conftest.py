"""One hub in a process of its own for all tests of the command, empty after each."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from hub.client import CallFailed, Hub
from tests.support.command import Outcome, llm_hub
from tests.support.hub_process import HubProcess, running_hub

Ask = Callable[..., Outcome]


@pytest.fixture(scope="session")
def lasting_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with running_hub(tmp_path_factory.mktemp("cli") / "data") as process:
        yield process


@pytest.fixture(scope="session")
def lasting_client(lasting_hub: HubProcess) -> Iterator[Hub]:
    with Hub(lasting_hub.grpc, lasting_hub.admin_token) as client:
        yield client


@pytest.fixture
def hub(lasting_hub: HubProcess, lasting_client: Hub) -> Iterator[HubProcess]:
    tokens = {each.id for each in lasting_client.list_tokens()}
    yield lasting_hub
    for endpoint in list(lasting_client.list_endpoints()):
        lasting_client.remove(endpoint.id)
    for token in list(lasting_client.list_tokens()):
        if token.id not in tokens:
            with contextlib.suppress(CallFailed):
                lasting_client.revoke_token(token.id)


@pytest.fixture
def client(hub: HubProcess, lasting_client: Hub) -> Hub:
    """The client library, with the admin's token."""
    return lasting_client


@pytest.fixture
def ask(hub: HubProcess) -> Ask:
    """Runs a command against the hub with the admin's token."""

    def run(*arguments: str, stdin: str = "") -> Outcome:
        return llm_hub(*arguments, env=hub.environment, stdin=stdin)

    return run
