import json
from pathlib import Path

from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY
from tests.support.hub import by_id, hub_process
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, Fleet


async def test_select_chooses_an_endpoint_and_explains_why(tmp_path: Path) -> None:
    async with (
        hub_process(tmp_path / "data") as process,
        process.client() as hub,
        Fleet() as fleet,
    ):
        ask = process.command
        warm = FakeOllama("llama3.1:8b")
        warm.load("llama3.1:8b")
        servers = [await fleet.add(warm), await fleet.add(FakeOllama("llama3.1:8b"))]
        for server in servers:
            request = RegisterEndpointRequest(host=server.host, port=server.port)
            await hub.call("RegisterEndpoint", request)

        async def healthy() -> bool:
            seen = by_id(await hub.snapshot())
            return all(seen[server.id].status == STATUS_HEALTHY for server in servers)

        await wait_until(healthy)
        done = await ask("select", "llama3.1:8b")
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines()[1].split("\t")[0] == servers[0].id
        await ask("drain", servers[0].id)
        done = await ask("select", "llama3.1:8b", "--explain")
        chosen, candidates = done.out.split("\n\n")
        assert chosen.splitlines()[1].startswith(servers[1].id)
        rows = {row.split("\t")[0]: row.split("\t") for row in candidates.splitlines()[1:]}
        assert rows[servers[0].id][1] == "-"
        assert rows[servers[0].id][3].startswith("draining")
        assert "health +" in rows[servers[1].id][3]
        none = await ask("select", "llama3.1:8b", "--label", "zone=nowhere", "--explain")
        assert none.code == 1
        assert {row.split("\t")[0] for row in none.out.splitlines()[1:]} == {
            server.id for server in servers
        }
        assert all(row.split("\t")[1] for row in none.out.splitlines())
        assert none.err.endswith("[NO_CAPACITY]\n")
        nowhere = ("--label", "zone=nowhere", "--explain", "-o", "json")
        rejections = json.loads((await ask("select", "llama3.1:8b", *nowhere)).out)["rejections"]
        assert rejections.keys() == {server.id for server in servers}
        document = json.loads((await ask("select", "llama3.1:8b", "-o", "json")).out)
        assert document["selections"][0]["lease_id"] == ""
        unknown = await ask("select", "no-such-model")
        assert unknown.code == 5
        assert unknown.err.endswith("[MODEL_UNKNOWN]\n")
        near = await ask("select", "LLama3.1:8")
        assert (near.code, near.err) == (
            5,
            "llm-hub: no endpoint has LLama3.1:8; did you mean llama3.1:8b? [MODEL_UNKNOWN]\n",
        )
