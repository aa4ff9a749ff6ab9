import asyncio
import json
import re
from pathlib import Path

import pytest

from hub.base.clock import ManualClock
from hub.client import Hub
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.cli.conftest import Ask
from tests.support.command import Outcome, llm_hub
from tests.support.hub import running_hub
from tests.support.hub_process import HubProcess

HOUR_MS = 3_600_000


def test_create_prints_the_secret_alone_on_stdout(client: Hub, ask: Ask) -> None:
    done = ask("token", "create", "--role", "sidecar", "--agent", "node-1", "--ttl", "30d")
    assert done.code == 0
    assert re.fullmatch(r"llmhub_\S+\n", done.out)
    said = re.fullmatch(
        r"token (\S+): sidecar for agent node-1, expires \S+Z; the secret is shown only once\n",
        done.err,
    )
    assert said
    [info] = [each for each in client.list_tokens() if each.id == said[1]]
    assert (info.role, info.agent_id) == (ROLE_SIDECAR, "node-1")
    assert info.expires_at.seconds - info.created_at.seconds == 30 * 86_400


def test_create_in_json_has_secret_and_facts(ask: Ask) -> None:
    document = json.loads(
        ask("token", "create", "--role", "reader", "--description", "CI", "-o", "json").out
    )
    assert document["token"].startswith("llmhub_")
    assert document["token_info"]["role"] == "reader"
    assert document["token_info"]["description"] == "CI"
    assert document["token_info"]["expires_at"] is None


def test_list_shows_no_secret(ask: Ask) -> None:
    secret = ask("token", "create", "--role", "reader").out.strip()
    done = ask("token", "list")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert rows[0] == [
        *("ID", "ROLE", "AGENT", "STATUS", "CREATED", "EXPIRES"),
        *("USED", "FROM", "SCOPE", "DESCRIPTION"),
    ]
    assert sorted(row[1] for row in rows[1:] if row[3] == "valid") == ["admin", "reader"]
    assert secret not in done.out
    document = ask("token", "list", "--valid", "-o", "json").out
    assert len(json.loads(document)["tokens"]) == 2
    assert secret not in document


def test_a_token_with_a_scope(hub: HubProcess, client: Hub, ask: Ask) -> None:
    limits = [
        *("--label", "site=lab", "--label", "gpu=a", "--model", "m"),
        *("--rpc", "SelectEndpoint", "--rpc", "GetSnapshot"),
    ]
    done = ask("token", "create", "--role", "reader", *limits)
    shown = "label gpu=a, label site=lab, model m, rpc SelectEndpoint, rpc GetSnapshot"
    assert f"reader, limited to {shown}, expires never" in done.err
    environment = hub.environment | {"LLM_HUB_TOKEN": done.out.strip()}
    assert llm_hub("snapshot", env=environment).code == 0
    refused = llm_hub("models", env=environment)
    assert refused.code == 4
    assert refused.err.endswith(
        "the token's scope does not include the call ListModels [SCOPE_FORBIDDEN]\n"
    )
    rows = [line.split("\t") for line in ask("token", "list").out.splitlines()]
    (row,) = (row for row in rows if row[8] == shown)
    assert row[6] != "-"
    assert row[7] == "127.0.0.1"
    [info] = [each for each in client.list_tokens() if each.HasField("scope")]
    assert (dict(info.scope.labels), list(info.scope.models)) == (
        {"site": "lab", "gpu": "a"},
        ["m"],
    )


def test_the_scope_must_fit_the_role(ask: Ask) -> None:
    for role, limit, why in (
        ("admin", ["--model", "m"], "labels and models limit readers only"),
        ("reader", ["--read-only"], "read_only limits admins only"),
        ("reader", ["--address", "10.0.0.1"], "addresses limit sidecars only"),
        ("reader", ["--rpc", "Nonsense"], "no call that a scope can name: Nonsense"),
    ):
        done = ask("token", "create", "--role", role, *limit)
        assert (done.code != 0, why in done.err) == (True, True), done


def test_a_revoked_token_is_no_longer_listed(client: Hub, ask: Ask) -> None:
    done = ask("token", "create", "--role", "reader", "-o", "json")
    id_ = json.loads(done.out)["token_info"]["id"]
    assert ask("token", "revoke", id_).out == f"revoked {id_}\n"
    assert id_ not in {each.id for each in client.list_tokens()}
    again = ask("token", "revoke", id_)
    assert again.code == 5
    assert again.err.endswith(" [TOKEN_NOT_FOUND]\n")


async def test_expired_tokens_are_listed_and_can_be_removed(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_hub(tmp_path, clock) as hub:
        environment = {"LLM_HUB_ADDRESS": hub.grpc_address, "LLM_HUB_TOKEN": hub.admin_token}

        async def ask(*arguments: str) -> Outcome:
            return await asyncio.to_thread(llm_hub, *arguments, env=environment)

        for ttl in ("30d", "1h", "2h"):
            assert (await ask("token", "create", "--role", "reader", "--ttl", ttl)).code == 0
        clock.advance(3 * HOUR_MS)
        rows = [line.split("\t") for line in (await ask("token", "list")).out.splitlines()]
        readers = sorted((row[5], row[3], row[0]) for row in rows if row[1] == "reader")
        assert [row[:2] for row in readers] == [
            ("2027-01-15T09:00:00Z", "expired"),
            ("2027-01-15T10:00:00Z", "expired"),
            ("2027-02-14T08:00:00Z", "valid"),
        ]
        valid = (await ask("token", "list", "--valid")).out.splitlines()
        assert len(valid) == len(rows) - 2
        revoked = await ask("token", "revoke", "--expired")
        assert set(revoked.out.splitlines()) == {f"revoked {id_}" for _, _, id_ in readers[:2]}
        assert (await ask("token", "list")).out.splitlines() == valid
        assert (await ask("token", "revoke", "--expired")).out == "no expired tokens\n"
        none = await ask("token", "revoke", "--expired", "-o", "json")
        assert json.loads(none.out) == {"revoked": []}


@pytest.mark.parametrize("arguments", [(), ("t1", "--expired")])
def test_revoke_takes_an_id_or_the_expired(ask: Ask, arguments: tuple[str, ...]) -> None:
    done = ask("token", "revoke", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "the ID of a token, or --expired" in done.err


@pytest.mark.parametrize("ttl", ["0d", "30", "d", "-1d", "1.5h", "30 d", "1y", "٣d"])
def test_an_invalid_ttl_is_a_usage_error(ttl: str) -> None:
    done = llm_hub(
        *("--hub", "127.0.0.1:1", "--token", "t"),
        *("token", "create", "--role", "reader", f"--ttl={ttl}"),
    )
    assert done.code == 2
    assert "is not a time such as" in done.err


def test_path_prints_the_file_without_calling_a_hub(tmp_path: Path) -> None:
    expected = f"{tmp_path}/admin.token\n"
    assert llm_hub("token", "path", "--data-dir", str(tmp_path)).out == expected
    done = llm_hub("token", "path", env={"LLM_HUB_DATA_DIR": str(tmp_path)})
    assert (done.code, done.out, done.err) == (0, expected, "")
