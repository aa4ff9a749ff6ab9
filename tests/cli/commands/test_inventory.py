"""The commands that show models, sidecars and the hub, against a running hub."""

import json
from pathlib import Path

import yaml

from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY
from tests.support.hub import by_id, hub_process
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, FakeOpenAi, Fleet


async def test_models_sidecars_and_the_hubs_info_are_listed(tmp_path: Path) -> None:
    async with (
        hub_process(tmp_path / "data") as process,
        process.client() as hub,
        Fleet() as fleet,
    ):
        ask = process.command
        assert (await ask("sidecars")).out.count("\n") == 1
        persona = FakeOllama("llama3.1:8b", "phi4:14b")
        persona.load("phi4:14b")
        ollama = await fleet.add(persona)
        async with hub.sidecar("node-1", ollama_url=ollama.id, status="idle") as sidecar:

            async def healthy() -> bool:
                return by_id(await hub.snapshot())[ollama.id].status == STATUS_HEALTHY

            await wait_until(healthy)
            models = (await ask("models")).out.splitlines()
            assert models[1:] == [
                f"llama3.1:8b\t1\t0\t1\t{ollama.id}",
                f"phi4:14b\t1\t1\t1\t{ollama.id}",
            ]
            [shown] = json.loads((await ask("sidecars", "-o", "json")).out)["sidecars"]
            assert (shown["agent_id"], shown["transport"]) == ("node-1", "ws")
            assert "\tidle\t127.0.0.1\tws\t" in (await ask("sidecars")).out
            info = yaml.safe_load((await ask("info", "-o", "yaml")).out)
            assert (info["sidecar_count"], info["healthy_count"]) == (1, 1)
            assert f"gRPC\t{hub.grpc_address}" in (await ask("info")).out
            done = await ask("disconnect", "node-1", "--reason", "maintenance")
            assert (done.code, done.out) == (0, "disconnected node-1\n")
            assert await sidecar.closed() == (1000, "maintenance")
        assert (await ask("disconnect", "node-1")).code == 5


async def test_loaded_counts_no_server_that_is_down_and_says_unknown(tmp_path: Path) -> None:
    async with (
        hub_process(tmp_path / "data") as process,
        process.client() as hub,
        Fleet() as fleet,
    ):
        silent = await fleet.add(FakeOpenAi(["phi4:14b"]))
        persona = FakeOllama("phi4:14b", "qwen3:8b")
        persona.load("phi4:14b")
        ollama = await fleet.add(persona)
        for server in (silent, ollama):
            assert (await process.command("register", server.id)).code == 0

        async def healthy() -> bool:
            return all(each.status == STATUS_HEALTHY for each in (await hub.snapshot()).endpoints)

        await wait_until(healthy)
        where = ", ".join(sorted([silent.id, ollama.id]))
        assert (await process.command("models")).out.splitlines()[1:] == [
            f"phi4:14b\t2\t1 + 1 unknown\t2\t{where}",
            f"qwen3:8b\t1\t0\t1\t{ollama.id}",
        ]
        await fleet.stop(ollama)
        assert "refused" in (await process.command("check", ollama.id)).out
        assert (await process.command("models")).out.splitlines()[1].split("\t")[2] == "unknown"
