import os
import signal
from pathlib import Path
from typing import get_args

import pytest

from hub.base.load_settings import ConfigError
from hub.base.settings import BackendWord, Settings
from hub.contract.dialect.names import enum_words
from hub.server.configured_endpoints import StaticEndpoints, Wanted, wanted_endpoints
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import (
    BACKEND_VLLM,
    SOURCE_CONFIG,
    SOURCE_MANUAL,
    STATUS_HEALTHY,
    Backend,
)
from tests.support.core import Core, running_core
from tests.support.hub import HubClient, by_id, hub_process, running_hub, settings_for
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, FakeVllm, Fleet


def settings(*entries: dict[str, object], **sections: object) -> Settings:
    return Settings.model_validate({"endpoints": entries, **sections})


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"url": "h:1"}, {"url": "http://H.:1"}], "endpoints[1].url: h:1 is listed twice"),
        (
            [{"url": "localhost:1"}, {"url": "127.0.0.1:1"}],
            "endpoints[1].url: 127.0.0.1:1 is listed twice",
        ),
        ([{"url": "169.254.169.254:80"}], "endpoints[0].url: host 169.254.169.254 may not be"),
        ([{"url": "h", "labels": {"a b": "x"}}], 'endpoints[0].labels["a b"]: '),
        ([{"url": "h", "name": "a\nb"}], "endpoints[0].name: must not contain control"),
    ],
)
def test_an_invalid_entry_is_one_line(entries: list[dict[str, object]], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wanted_endpoints(settings(*entries))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_denied_network_is_refused_by_the_same_settings() -> None:
    with pytest.raises(ConfigError, match=r"is in probes\.deny"):
        wanted_endpoints(settings({"url": "10.0.0.1:1"}, probes={"deny": ["10.0.0.0/8"]}))


def test_a_full_entry_becomes_a_registration() -> None:
    wanted = wanted_endpoints(
        settings(
            {
                "url": "https://GPU-1.lan/v",
                "name": "one",
                "backend": "vllm",
                "agent_id": "gpu-1",
                "labels": {"zone": "a"},
            }
        )
    )
    entry = wanted["gpu-1.lan:443"]
    assert (entry.scheme, entry.base_path, entry.source) == ("https", "/v", SOURCE_CONFIG)
    assert (entry.name, entry.backend, entry.agent_id) == ("one", BACKEND_VLLM, "gpu-1")
    assert entry.labels == {"zone": "a"}


async def test_the_file_overrides_only_its_own_endpoints(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:

        async def reload(*entries: dict[str, object]) -> None:
            new = settings_for(tmp_path).model_copy(
                update={"endpoints": settings(*entries).endpoints}
            )
            await hub.hub.reconfigure(new)

        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="by-hand", port=1))
        one = {"url": "h1:1", "name": "one", "backend": "vllm", "labels": {"zone": "a"}}
        await reload(one, {"url": "h2:1"})
        seen = by_id(await hub.snapshot())
        assert set(seen) == {"by-hand:1", "h1:1", "h2:1"}
        assert seen["h1:1"].source == SOURCE_CONFIG
        assert seen["by-hand:1"].source == SOURCE_MANUAL
        since = seen["h1:1"].registered_at
        etag = seen["h2:1"].etag
        await reload({"url": "h1:1"}, {"url": "h2:1"})
        seen = by_id(await hub.snapshot())
        assert (seen["h1:1"].name, dict(seen["h1:1"].labels)) == ("h1:1", {})
        assert seen["h1:1"].backend == 0
        assert seen["h1:1"].registered_at == since
        # What did not change was not written.
        assert seen["h2:1"].etag == etag
        await reload({"url": "h2:1"})
        assert set(by_id(await hub.snapshot())) == {"by-hand:1", "h2:1"}


async def test_a_start_removes_endpoints_that_left_the_file(
    tmp_path: Path,
) -> None:
    async with running_hub(tmp_path) as hub:
        await hub.hub.reconfigure(
            settings_for(tmp_path).model_copy(
                update={"endpoints": settings({"url": "h1:1"}).endpoints}
            )
        )
        assert set(by_id(await hub.snapshot())) == {"h1:1"}
    async with running_hub(tmp_path) as hub:
        assert by_id(await hub.snapshot()) == {}


async def test_reloads_follow_the_file_without_dropping_a_connection(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    async with Fleet() as fleet:
        ollama, vllm = await fleet.add(FakeOllama("a:1")), await fleet.add(FakeVllm())
        file.write_text(f"[[endpoints]]\nurl = '{ollama.id}'\nname = 'first'\n")
        async with (
            hub_process(tmp_path / "data", "--config", str(file)) as process,
            process.client() as hub,
            hub.sidecar("node-1") as sidecar,
        ):
            await _until_healthy(hub, {ollama.id})
            assert by_id(await hub.snapshot())[ollama.id].name == "first"
            # A broken file: nothing changes.
            file.write_text("[[endpoints]\n")
            process.send(signal.SIGHUP)
            # The change of the file alone is enough.
            file.write_text(f"[[endpoints]]\nurl = '{vllm.id}'\n[log]\nlevel = 'warning'\n")
            await _until_healthy(hub, {vllm.id})
            pong = await sidecar.ask({"type": "ping"})
            assert pong["type"] == "pong"
            os.kill(process._running().pid, signal.SIGTERM)
            code, _ = await process.exited()
            assert code == 0


async def _until_healthy(hub: HubClient, ids: set[str]) -> None:
    async def there() -> bool:
        seen = by_id(await hub.snapshot())
        return set(seen) == ids and all(e.status == STATUS_HEALTHY for e in seen.values())

    await wait_until(there, timeout_s=30)


def _file(core: Core, *, is_alone: bool) -> StaticEndpoints:
    return StaticEndpoints(core.registrar, core.registry, core.clock, is_alone=is_alone)


def _wanted(*urls: str) -> Wanted:
    return wanted_endpoints(settings(*({"url": url} for url in urls)))


async def test_each_hub_on_one_store_removes_only_its_own_configured_endpoints(
    tmp_path: Path,
) -> None:
    async with running_core(tmp_path) as core:
        one, two = _file(core, is_alone=False), _file(core, is_alone=False)
        await one.sync(_wanted("a:1", "b:1"))
        await two.sync(_wanted("c:1", "d:1"))
        await one.sync(_wanted("a:1"))
        assert set(core.ids()) == {"a:1", "c:1", "d:1"}
        await two.sync(_wanted("d:1"))
        assert set(core.ids()) == {"a:1", "d:1"}
        # A restarted hub knows of no earlier file and removes nothing.
        await _file(core, is_alone=False).sync(_wanted())
        assert set(core.ids()) == {"a:1", "d:1"}


async def test_many_endpoints_share_writes_to_the_disk(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        before = core.store.commits
        await _file(core, is_alone=True).sync(_wanted(*(f"h{n}:1" for n in range(200))))
        assert len(core.ids()) == 200
        assert core.store.commits - before <= 40


def test_backend_words_in_settings_match_the_contract():
    assert set(get_args(BackendWord)) == {"", *enum_words(Backend.DESCRIPTOR)}


async def test_an_entry_matches_an_endpoint_known_under_another_spelling(
    tmp_path: Path,
) -> None:
    async with running_core(tmp_path) as core:
        await core.as_admin("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=9))
        static = StaticEndpoints(core.registrar, core.registry, core.clock, is_alone=False)
        await static.sync(wanted_endpoints(settings({"url": "localhost:9", "name": "one"})))
        assert core.ids() == ["127.0.0.1:9"]
        assert core.endpoint("127.0.0.1:9").source == SOURCE_CONFIG
        await static.sync(wanted_endpoints(settings({"url": "[::1]:9", "name": "two"})))
        assert core.endpoint("127.0.0.1:9").name == "two"
        await static.sync({})
        assert core.ids() == []
