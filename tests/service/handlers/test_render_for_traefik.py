import asyncio
from pathlib import Path

import orjson

from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.handlers.render_for_traefik import TraefikHandlers
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.fleet_of import NOW, add, loaded
from tests.support.hub import running_hub

CALLER = Caller(Principal(ROLE_READER, "", "t"), "10.0.0.9", "http")
PATH = "/api/discovery/traefik"


async def test_the_body_follows_the_fleet() -> None:
    registry = Registry(first_revision=1)
    handlers = TraefikHandlers(registry)
    assert await handlers.get_traefik_config(None, CALLER, NOW) == b"{}"
    add(registry, "10.0.0.1:8000", loaded("m"), host="10.0.0.1", port=8000)
    body = await handlers.get_traefik_config(None, CALLER, NOW)
    (service,) = orjson.loads(body)["http"]["services"].values()
    assert service["loadBalancer"]["servers"] == [{"url": "http://10.0.0.1:8000"}]
    add(registry, "10.0.0.1:8000", loaded("m"), host="10.0.0.1", port=8000, error="down")
    assert await handlers.get_traefik_config(None, CALLER, NOW) == b"{}"


async def test_a_body_is_made_once_for_all_callers() -> None:
    registry = Registry(first_revision=1)
    add(registry, "10.0.0.1:8000", loaded("m"), host="10.0.0.1", port=8000)
    handlers = TraefikHandlers(registry)
    first, second = await asyncio.gather(
        *(handlers.get_traefik_config(None, CALLER, NOW) for _ in range(2))
    )
    assert first is second
    assert await handlers.get_traefik_config(None, CALLER, NOW) is first


async def test_a_caller_that_has_the_body_gets_304(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        headers = {"Authorization": f"Bearer {await hub.token(ROLE_READER)}"}
        url = f"http://{hub.http_address}"
        for path in (PATH, "/api/models", "/api/discovery/prometheus"):
            async with hub.session.get(url + path, headers=headers) as first:
                etag = first.headers["ETag"]
                assert first.headers["Cache-Control"] == "private, no-cache"
            known = {**headers, "If-None-Match": etag}
            async with hub.session.get(url + path, headers=known) as second:
                assert (second.status, await second.read()) == (304, b"")
            other = {**headers, "If-None-Match": '"other"'}
            async with hub.session.get(url + path, headers=other) as third:
                assert (third.status, third.headers["ETag"]) == (200, etag)
