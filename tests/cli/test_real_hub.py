"""The steps of the README, with the command and a running hub."""

import json
import stat
from pathlib import Path

from tests.support.command import Outcome, llm_hub
from tests.support.hub_process import HubProcess, running_hub


def ask(hub: HubProcess, *arguments: str, stdin: str = "") -> Outcome:
    return llm_hub(*arguments, env=hub.environment, stdin=stdin)


def test_the_first_token_is_in_a_file_and_not_in_a_pipe(hub: HubProcess) -> None:
    assert hub.admin_token not in hub.said
    assert str(hub.data_dir / "admin.token") in hub.said
    assert stat.S_IMODE((hub.data_dir / "admin.token").stat().st_mode) == 0o600
    assert stat.S_IMODE(hub.data_dir.stat().st_mode) == 0o700


def test_an_endpoint_is_registered_listed_and_removed(hub: HubProcess) -> None:
    done = ask(hub, "register", "[::1]:1", "--name", "one", "--label", "zone=a", "-o", "json")
    assert (done.code, done.err) == (0, "")
    endpoint = json.loads(done.out)
    assert (endpoint["id"], endpoint["name"], endpoint["source"]) == ("[::1]:1", "one", "manual")
    listed = json.loads(ask(hub, "endpoints", "--label", "zone=a", "-o", "json").out)
    assert [each["id"] for each in listed["endpoints"]] == ["[::1]:1"]
    assert ask(hub, "endpoints", "--label", "zone=b").out.count("\n") == 1
    seen = json.loads(ask(hub, "snapshot", "-o", "json").out)
    assert [each["id"] for each in seen["endpoints"]] == ["[::1]:1"]
    assert ask(hub, "remove", "[::1]:1").out == "removed [::1]:1\n"
    gone = ask(hub, "remove", "[::1]:1")
    assert gone.code == 5
    assert gone.err.endswith("[ENDPOINT_NOT_FOUND]\n")


def test_an_api_key_is_never_shown_again(hub: HubProcess) -> None:
    key = "sk-do-not-show"
    done = ask(hub, "register", "127.0.0.1:1", "--api-key-stdin", "-o", "json", stdin=f"{key}\n")
    assert done.code == 0
    shown = done.out + ask(hub, "endpoints", "-o", "json").out + ask(hub, "snapshot").out
    assert key not in shown
    assert ask(hub, "remove", "127.0.0.1:1").code == 0


def test_the_hubs_violations_are_named(hub: HubProcess) -> None:
    done = ask(hub, "register", "gpu-1", "--label", "b d=x", "--name", "a\nb")
    assert done.code == 6
    assert '--label["b d"]: ' in done.err
    assert "--name: " in done.err
    assert done.err.endswith("[VALIDATION_FAILED]\n")
    assert done.err.count("\n") == 1


def test_a_token_is_created_used_and_revoked(hub: HubProcess) -> None:
    made = ask(hub, "token", "create", "--role", "reader", "--ttl", "1h")
    secret = made.out.strip()
    assert ask(hub, "snapshot", "--token", secret).code == 0
    assert ask(hub, "token", "list", "--token", secret).code == 4
    rows = [line.split("\t") for line in ask(hub, "token", "list").out.splitlines()[1:]]
    [reader] = [row[0] for row in rows if row[1] == "reader"]
    assert ask(hub, "token", "revoke", reader).out == f"revoked {reader}\n"
    assert ask(hub, "snapshot", "--token", secret).code == 4
    assert ask(hub, "token", "revoke", reader).code == 5


def test_an_interrupt_stops_the_hub_cleanly_and_keeps_registrations(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as first:
        assert ask(first, "register", "127.0.0.1:1").code == 0
        assert first.stop() == 0
    with running_hub(tmp_path / "data") as second:
        document = json.loads(ask(second, "endpoints", "-o", "json").out)
        assert [each["id"] for each in document["endpoints"]] == ["127.0.0.1:1"]
        assert second.admin_token not in second.said
