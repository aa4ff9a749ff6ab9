import asyncio
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from hub.client import Hub
from tests.cli.conftest import Ask
from tests.support.command import llm_hub
from tests.support.hub_process import HubProcess, hub_environment, running_hub
from tests.support.ports import lasting_port
from tests.support.waiting import wait_until
from tools.fleetsim import FakeVllm, Fleet


def test_without_endpoints_the_configuration_is_empty(ask: Ask) -> None:
    outcome = ask("render", "litellm")
    assert (outcome.code, yaml.safe_load(outcome.out)) == (0, {"model_list": []})


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["apache"], "'apache' is not one of"),
        (["nginx", "--watch"], "--watch and --hook need --file"),
        (["nginx", "--hook", "true"], "--watch and --hook need --file"),
        (["nginx", "--hook", "'"], "No closing quotation"),
        (["nginx", "--listen", "8090"], "has no port"),
        (["nginx", "-o", "json"], "the program's own format only"),
    ],
)
def test_wrong_usage_says_what_is_wrong(ask: Ask, arguments: list[str], wrong: str) -> None:
    outcome = ask("render", *arguments)
    assert outcome.code == 2
    assert wrong in outcome.err


def test_a_file_is_written_and_the_hook_runs_after_a_change_only(ask: Ask, tmp_path: Path) -> None:
    file, ran = tmp_path / "config.yaml", tmp_path / "ran"
    hook = shlex.join([sys.executable, "-c", f"open({str(ran)!r}, 'a').write('x')"])
    for _ in range(2):
        outcome = ask("render", "litellm", "--file", str(file), "--hook", hook)
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert yaml.safe_load(file.read_text()) == {"model_list": []}
    assert ran.read_text() == "x"


def test_a_failed_hook_and_a_file_that_cannot_be_written_are_failures(
    ask: Ask, tmp_path: Path
) -> None:
    failed = ask("render", "litellm", "--file", str(tmp_path / "f"), "--hook", "false")
    assert failed.code == 1
    assert "is written, but --hook failed: false ended with exit code 1" in failed.err
    nowhere = ask("render", "litellm", "--file", str(tmp_path / "no" / "f"))
    assert (nowhere.code, "No such file" in nowhere.err) == (1, True)


def test_a_key_without_its_variable_is_refused(ask: Ask, client: Hub) -> None:
    with served(client, {"api-key-env": "LLM_TEST_NO_SUCH_KEY"}):
        assert "os.environ/LLM_TEST_NO_SUCH_KEY" in ask("render", "litellm").out
        outcome = ask("render", "litellm", "--with-api-keys")
        assert outcome.code == 2
        assert "the variable LLM_TEST_NO_SUCH_KEY is not set" in outcome.err


def test_filters_choose_the_endpoints(ask: Ask, client: Hub) -> None:
    with served(client, {"zone": "a"}) as id_:
        for chosen, count in (("a", 1), ("b", 0)):
            outcome = ask("render", "llm-d", "--label", f"zone={chosen}")
            assert len(yaml.safe_load(outcome.out)["endpoints"]) == count
        assert f"http://{id_}" in ask("render", "olla", "--backend", "vllm").out
        assert f"http://{id_}" not in ask("render", "olla", "--model", "absent").out


@contextmanager
def served(client: Hub, labels: dict[str, str]) -> Iterator[str]:
    """A healthy endpoint of the hub, with a server that answers; gives its id."""
    with asyncio.Runner() as runner:
        fleet = Fleet()
        runner.run(fleet.__aenter__())
        try:
            server = runner.run(fleet.add(FakeVllm()))
            client.register(server.id, labels=labels)
            check = asyncio.to_thread(client.check, server.id)
            assert runner.run(check).status
            yield server.id
        finally:
            runner.run(fleet.__aexit__(None, None, None))


@contextmanager
def watching(hub: HubProcess, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "hub.cli", "render", *arguments, "--watch", "--settle", "0.1"],
        env={**hub_environment(), **hub.environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_watch_keeps_the_file_true_over_a_restart(tmp_path: Path) -> None:
    file, ran = tmp_path / "endpoints.yaml", tmp_path / "ran"
    hook = shlex.join([sys.executable, "-c", f"open({str(ran)!r}, 'a').write('x')"])
    port = lasting_port()
    listen = ("--grpc", f"127.0.0.1:{port}")

    def names() -> set[str]:
        if not file.exists():
            return set()
        return {each["port"] for each in yaml.safe_load(file.read_text())["endpoints"]}

    async def add(hub: HubProcess, fleet: Fleet) -> str:
        server = await fleet.add(FakeVllm())
        done = await asyncio.to_thread(llm_hub, "register", server.id, env=hub.environment)
        assert done.code == 0, done.err
        await asyncio.to_thread(llm_hub, "check", server.id, env=hub.environment)
        return str(server.port)

    async with Fleet() as fleet:
        with running_hub(tmp_path / "data", *listen) as hub:
            first = await add(hub, fleet)
            with watching(hub, "llm-d", "--file", str(file), "--hook", hook) as process:
                await wait_until(lambda: names() == {first})
                second = await add(hub, fleet)
                await wait_until(lambda: names() == {first, second})
                assert await asyncio.to_thread(hub.stop) == 0
                with running_hub(tmp_path / "data", *listen) as again:
                    third = await add(again, fleet)
                    await wait_until(lambda: names() == {first, second, third})
                    await wait_until(lambda: ran.read_text() == "xxx")
                    assert process.poll() is None
                    process.send_signal(signal.SIGINT)
                    assert await asyncio.to_thread(process.wait, 30) == 130
