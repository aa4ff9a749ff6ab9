import json
from pathlib import Path

import pytest

from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.cli.conftest import Ask
from tests.support.command import llm_hub
from tests.support.grpc_stand_in import StandIn


def test_create_prints_the_secret_alone_on_stdout(hub: StandIn, ask: Ask) -> None:
    done = ask("token", "create", "--role", "sidecar", "--agent", "node-1", "--ttl", "30d")
    assert (done.code, done.out) == (0, "llmhub_t1_secret\n")
    assert done.err == (
        "token t1: sidecar for agent node-1, expires 2027-02-14T08:00:00Z; "
        "the secret is shown this once\n"
    )
    info = hub.tokens["t1"]
    assert (info.role, info.agent_id) == (ROLE_SIDECAR, "node-1")
    assert info.expires_at.seconds - info.created_at.seconds == 30 * 86_400


def test_create_in_json_has_secret_and_facts(ask: Ask) -> None:
    document = json.loads(
        ask("token", "create", "--role", "reader", "--description", "CI", "-o", "json").out
    )
    assert document["token"] == "llmhub_t1_secret"
    assert document["token_info"]["role"] == "reader"
    assert document["token_info"]["description"] == "CI"
    assert document["token_info"]["expires_at"] is None


def test_list_reads_all_pages_and_shows_no_secret(ask: Ask) -> None:
    for role in ("admin", "reader", "reader"):
        assert ask("token", "create", "--role", role).code == 0
    done = ask("token", "list")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert rows[0] == ["ID", "ROLE", "AGENT", "STATUS", "CREATED", "EXPIRES", "DESCRIPTION"]
    assert rows[1] == ["t1", "admin", "-", "valid", "2027-01-15T08:00:00Z", "never", "-"]
    assert [row[0] for row in rows[1:]] == ["t1", "t2", "t3"]
    assert "secret" not in done.out
    assert len(json.loads(ask("token", "list", "-o", "json").out)["tokens"]) == 3


def test_revoke(hub: StandIn, ask: Ask) -> None:
    ask("token", "create", "--role", "reader")
    assert ask("token", "revoke", "t1").out == "revoked t1\n"
    assert hub.tokens == {}
    again = ask("token", "revoke", "t1")
    assert (again.code, again.err) == (5, "llm-hub: there is no token t1 [TOKEN_NOT_FOUND]\n")


def test_expired_ones_are_shown_and_can_be_taken_out(hub: StandIn, ask: Ask) -> None:
    for ttl in ("30d", "1h", "2h"):
        assert ask("token", "create", "--role", "reader", "--ttl", ttl).code == 0
    hub.tokens["t2"].expired = hub.tokens["t3"].expired = True
    rows = [line.split("\t") for line in ask("token", "list").out.splitlines()[1:]]
    assert [(row[0], row[3], row[5]) for row in rows] == [
        ("t1", "valid", "2027-02-14T08:00:00Z"),
        ("t2", "expired", "2027-01-15T09:00:00Z"),
        ("t3", "expired", "2027-01-15T10:00:00Z"),
    ]
    assert len(ask("token", "list", "--valid").out.splitlines()) == 2
    assert ask("token", "revoke", "--expired").out == "revoked t2\nrevoked t3\n"
    assert list(hub.tokens) == ["t1"]
    assert ask("token", "revoke", "--expired").out == "no token has expired\n"
    assert json.loads(ask("token", "revoke", "--expired", "-o", "json").out) == {"revoked": []}


@pytest.mark.parametrize("arguments", [(), ("t1", "--expired")])
def test_revoke_takes_an_id_or_the_expired(ask: Ask, arguments: tuple[str, ...]) -> None:
    done = ask("token", "revoke", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "the ID of a token, or --expired" in done.err


@pytest.mark.parametrize("ttl", ["0d", "30", "d", "-1d", "1.5h", "30 d", "1y", "٣d"])
def test_a_ttl_that_is_no_time(hub: StandIn, ask: Ask, ttl: str) -> None:
    done = ask("token", "create", "--role", "reader", f"--ttl={ttl}")
    assert (done.code, hub.tokens) == (2, {})
    assert "is not a time such as" in done.err


def test_path_names_the_file_and_asks_no_hub(tmp_path: Path) -> None:
    expected = f"{tmp_path}/admin.token\n"
    assert llm_hub("token", "path", "--data-dir", str(tmp_path)).out == expected
    done = llm_hub("token", "path", env={"LLM_HUB_DATA_DIR": str(tmp_path)})
    assert (done.code, done.out, done.err) == (0, expected, "")
