import json
from pathlib import Path

import pytest

from hub.client import Hub
from llmhub.v1.endpoint_pb2 import BACKEND_LLAMA_CPP, STATUS_HEALTHY
from tests.cli.conftest import Ask
from tests.support.command import llm_hub
from tests.support.hub import by_id, hub_process
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, Fleet


def test_register_sends_what_was_given_and_shows_the_endpoint(client: Hub, ask: Ask) -> None:
    done = ask(
        *("register", "https://LOCALHOST/ollama", "--name", "big one", "--label", "zone=a=b"),
        *("--backend", "llama_cpp", "--agent", "node-1"),
    )
    assert (done.code, done.err) == (0, "")
    headings, row = (line.split("\t") for line in done.out.splitlines())
    assert headings[:4] == ["ID", "NAME", "BACKEND", "STATUS"]
    assert row[:4] == ["localhost:443", "big one", "llama_cpp", "unknown"]
    endpoint = client.get_endpoint("localhost:443")
    assert (endpoint.scheme, endpoint.host, endpoint.port) == ("https", "localhost", 443)
    assert (endpoint.base_path, endpoint.name) == ("/ollama", "big one")
    assert dict(endpoint.labels) == {"zone": "a=b"}
    assert (endpoint.backend, endpoint.agent_id) == (BACKEND_LLAMA_CPP, "node-1")


def test_register_keeps_the_key_by_default(client: Hub, ask: Ask, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-123\n")
    assert ask("register", "127.0.0.1", "--api-key-file", str(key)).code == 0
    assert ask("register", "127.0.0.1", "--name", "kept").code == 0
    assert ask("register", "127.0.0.1", "--api-key-stdin", stdin="sk-9\r\n").code == 0
    assert ask("register", "127.0.0.1", "--api-key-stdin", stdin="").code == 0
    assert ask("remove", "127.0.0.1").code == 0
    # Newest first; the removal had no key to remove.
    events = list(client.list_audit_events(resource="endpoints/127.0.0.1:11434"))
    assert [each.secret_changed for each in events] == [False, True, True, False, True]


def test_register_in_json_is_the_endpoint_of_the_http_api(ask: Ask) -> None:
    endpoint = json.loads(ask("register", "[::1]:8000", "--output", "json").out)
    assert (endpoint["host"], endpoint["port"], endpoint["status"]) == ("::1", 8000, "unknown")
    assert endpoint["flapping"] is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("register", "ftp://x"), "the scheme is 'ftp', not http or https"),
        (("register", "gpu-1", "--label", "zone"), "'zone' is not KEY=VALUE"),
        (("register", "gpu-1", "--backend", "nope"), "'nope' is not one of"),
        (("register", "gpu-1", "--api-key-file", "/none/x"), "/none/x: cannot be read"),
        (("register", "gpu-1", "--api-key-file", "x", "--api-key-stdin"), "not both"),
        (("remove", "::1:x"), "write an IPv6 host in brackets"),
        (("endpoints", "--status", "fine"), "'fine' is not one of"),
    ],
)
def test_bad_arguments_reach_no_hub(arguments: tuple[str, ...], complaint: str) -> None:
    done = llm_hub("--hub", "127.0.0.1:1", "--token", "t", *arguments)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert done.err.count("\n") == 1


def test_endpoints_passes_the_filters(client: Hub, ask: Ask) -> None:
    for port in range(1, 4):
        client.register(f"127.0.0.1:{port}", labels={"zone": "a" if port < 3 else "b"})
    client.update("127.0.0.1:2", backend=BACKEND_LLAMA_CPP)

    def listed(*arguments: str) -> list[str]:
        document = json.loads(ask("endpoints", "-o", "json", *arguments).out)
        return [each["id"] for each in document["endpoints"]]

    assert listed() == ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
    assert listed("--label", "zone=a") == ["127.0.0.1:1", "127.0.0.1:2"]
    assert listed("--label", "zone=a", "--backend", "llama_cpp") == ["127.0.0.1:2"]
    assert listed("--status", "healthy") == listed("--model", "m:1") == []


async def test_snapshot_shows_endpoints_hosts_and_models(tmp_path: Path) -> None:
    async with (
        hub_process(tmp_path / "data") as process,
        process.client() as hub,
        Fleet() as fleet,
    ):
        persona = FakeOllama("llama3:8b", "qwen3:4b")
        persona.load("llama3:8b")
        ollama = await fleet.add(persona)
        async with hub.sidecar("node-1", ollama_url=ollama.id) as sidecar:
            report = {"type": "resource_report", "cpu_percent": 12.4, "ram_used_bytes": 2**31}
            await sidecar.send(report)

            async def known() -> bool:
                snapshot = await hub.snapshot()
                is_healthy = by_id(snapshot)[ollama.id].status == STATUS_HEALTHY
                return is_healthy and "node-1" in snapshot.resources

            await wait_until(known)
            shown = (await process.command("snapshot")).out
            document = json.loads((await process.command("snapshot", "-o", "json")).out)
    endpoints, hosts, models = shown.strip().split("\n\n")
    row = endpoints.splitlines()[1].split("\t")
    assert row[3:5] == ["healthy", "enabled"]
    assert row[5].startswith("1/2 llama3:8b")
    assert hosts.splitlines()[1].split("\t")[:4] == ["node-1", "12 %", "2.0 GiB of ?", "? of ?"]
    assert models.splitlines()[1:] == ["llama3:8b\t1", "qwen3:4b\t1"]
    assert document["fleet_models"] == {"llama3:8b": 1, "qwen3:4b": 1}
    assert document["resources"]["node-1"]["ram_used_bytes"] == 2**31
    assert document["resources"]["node-1"]["vram_total_bytes"] is None


def test_remove_takes_what_register_took(client: Hub, ask: Ask) -> None:
    ask("register", "http://127.0.0.1")
    done = ask("remove", "http://127.0.0.1")
    assert (done.code, done.out) == (0, "removed 127.0.0.1:80\n")
    assert list(client.list_endpoints()) == []
    again = ask("remove", "127.0.0.1:80")
    assert (again.code, again.out) == (5, "")
    assert again.err.endswith(" [ENDPOINT_NOT_FOUND]\n")
