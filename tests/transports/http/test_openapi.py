"""The description, and what property-based requests made from it find in a real hub."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings

from hub.transports.http import openapi
from tests.support.hub import REGISTRY_PATH, running_hub
from tests.support.hub_process import running_hub as running_process


async def test_it_is_served_without_a_token_and_describes_every_route_of_the_contract(tmp_path):
    async with running_hub(tmp_path) as hub:
        answer = await hub.http("GET", openapi.PATH, token="")
        served = hub.hub._listeners._http.routes()
    assert answer.status == 200
    assert answer.json["openapi"] == "3.1.0"
    described = {
        (method.upper(), path)
        for path, operations in answer.json["paths"].items()
        for method in operations
    }
    assert described == set(openapi.ROUTES)
    assert len(served) > len(described)


def test_a_route_that_is_not_described_is_refused():
    with pytest.raises(KeyError):
        openapi.openapi([web.get("/api/new", lambda _: None)])


async def test_roles_are_those_of_the_calls(hub):
    paths = (await hub.http("GET", openapi.PATH)).json["paths"]
    registry = paths[REGISTRY_PATH]
    assert "role reader" in registry["get"]["description"]
    assert "role admin" in registry["post"]["description"]
    assert registry["post"]["security"] == [{"token": []}]
    assert "security" not in paths["/healthz"]["get"]
    assert {"401", "403", "422"} <= registry["post"]["responses"].keys()


needs_schemathesis = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    data_dir: Path = tmp_path_factory.mktemp("openapi")
    with running_process(data_dir) as hub:
        yield f"http://{hub.http}", {"Authorization": f"Bearer {hub.admin_token}"}


OPERATIONS = sorted(openapi.ROUTES)


@needs_schemathesis
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda each: each)
def test_every_answer_is_as_described(
    served: tuple[str, dict[str, str]], method: str, path: str
) -> None:
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    url, headers = served
    schema = schemathesis.openapi.from_url(url + openapi.PATH)

    @given(case=schema[path][method].as_strategy())
    @settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    def run(case: Any) -> None:
        if isinstance(case.body, dict) and "host" in case.body:
            # Nothing but this machine may be probed, or looked up.
            case.body["host"] = "127.0.0.1"
        # JSON Schema cannot say the rules in CEL, nor that 1.0 is no integer.
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    run()
