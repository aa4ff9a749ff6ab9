"""A real llama.cpp server, registered at a real hub with the real command."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Outcome, llm_hub
from tests.support.hub_process import HubProcess, running_hub
from tests.support.llama import running_llama, tiny_model, write_model
from tests.support.ports import lasting_port
from tests.support.sidecar_process import sidecar_process

pytestmark = pytest.mark.usefixtures("grpc_engine")

__all__ = ["tiny_model"]

DEADLINE_S = 30.0


def ask(hub: HubProcess, *arguments: str) -> Outcome:
    return llm_hub(*arguments, env=hub.environment)


async def endpoint(hub: HubProcess, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The endpoint that `llm-hub endpoints` shows, once it meets the condition."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            done = await asyncio.to_thread(ask, hub, "endpoints", "-o", "json")
            assert done.code == 0, done.err
            (shown,) = json.loads(done.out)["endpoints"]
            if until(shown):
                return shown


async def row(hub: HubProcess, command: str) -> dict[str, str]:
    """The only endpoint's row of the table that the command writes to a pipe."""
    done = await asyncio.to_thread(ask, hub, command)
    headings, values = (line.split("\t") for line in done.out.splitlines()[:2])
    return dict(zip(headings, values, strict=True))


async def test_a_llama_cpp_server_and_its_failure_are_shown(
    tiny_model: Path, tmp_path: Path
) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("[probes]\ninterval_s = 0.5\n")
    with running_hub(tmp_path / "data", "--config", str(config)) as hub:
        port = lasting_port()
        async with running_llama(tiny_model, alias="tiny", context=512, slots=2, port=port):
            url = f"http://127.0.0.1:{port}"
            done = await asyncio.to_thread(ask, hub, "register", url)
            assert (done.code, done.err) == (0, "")
            shown = await endpoint(hub, lambda each: each["status"] == "healthy")
            assert shown["backend"] == "llama_cpp"
            assert shown["backend_detected"] is True
            (model,) = shown["models"]
            # The two slots share the context of 512 tokens.
            assert (model["name"], model["state"], model["context_length"]) == (
                "tiny",
                "loaded",
                256,
            )
            assert shown["version"].startswith("b")
            assert (shown["load"]["slots"], shown["load"]["running"]) == (2, 0)
            assert shown["fault"] is None
            assert shown["provenance"]["models"]["observer"] == "probe"
            for command in ("endpoints", "snapshot"):
                cells = await row(hub, command)
                assert (cells["BACKEND"], cells["STATUS"]) == ("llama_cpp", "healthy")
                assert cells["MODELS"] == "1/1 tiny (256)"
                assert cells["VERSION"] == shown["version"]
                assert cells["LOAD"] == "0/2, 0 waiting"
        gone = await endpoint(hub, lambda each: each["status"] == "unhealthy")
        assert gone["last_error"] == "connection refused"
        assert gone["fault"] == "no_answer"
        assert gone["load"] is None
        cells = await row(hub, "endpoints")
        assert (cells["STATUS"], cells["ERROR"]) == ("unhealthy", "connection refused")
        other = write_model(tmp_path / "other.gguf", name="other", seed=8)
        async with running_llama(other, alias="other", context=512, slots=1, port=port):
            back = await endpoint(hub, lambda each: each["status"] == "healthy")
            assert [each["name"] for each in back["models"]] == ["other"]
            assert back["load"]["slots"] == 1


async def test_a_fresh_hub_beside_it_selects_it_by_capability_until_it_dies(
    tiny_model: Path, tmp_path: Path
) -> None:
    # Regular probes are so rare that only the sidecar can know of its start and its death.
    settings = tmp_path / "hub.toml"
    settings.write_text("[probes]\ninterval_s = 600\n")
    with running_hub(tmp_path / "data", "--config", str(settings)) as hub:
        port = lasting_port()
        role = ("--role", "sidecar", "--agent", "node-1")
        token = (await asyncio.to_thread(ask, hub, "token", "create", *role)).out.strip()
        arguments = ("--no-discover", "--endpoint", f"127.0.0.1:{port}")
        async with sidecar_process(hub.ws, "node-1", token, *arguments):
            async with running_llama(tiny_model, alias="tiny", port=port):
                chosen = await select(hub, "completion", lambda done: done.code == 0)
                assert f"127.0.0.1:{port}" in chosen.out
                lacking = await select(hub, "tools", lambda done: done.code != 0)
                assert "NO_CAPACITY" in lacking.err
            gone = await select(hub, "completion", lambda done: done.code != 0)
            assert "NO_HEALTHY_ENDPOINT" in gone.err


async def select(hub: HubProcess, capability: str, until: Callable[[Outcome], bool]) -> Outcome:
    """What `llm-hub select` says once it meets the condition."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            done = await asyncio.to_thread(ask, hub, "select", "tiny", "--capability", capability)
            if until(done):
                return done
