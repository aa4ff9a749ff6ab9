"""The commands that change one endpoint, against a hub that runs."""

import json

import pytest
import yaml

from hub.client import Hub
from tests.cli.conftest import Ask


@pytest.fixture(autouse=True)
def registered(client: Hub) -> None:
    client.register("127.0.0.1:1", labels={"zone": "a"})


def state(ask: Ask) -> str:
    return json.loads(ask("endpoints", "-o", "json").out)["endpoints"][0]["admin_state"]


def test_an_endpoint_is_drained_disabled_and_enabled(ask: Ask) -> None:
    for command, word in (("drain", "draining"), ("disable", "disabled"), ("enable", "enabled")):
        done = ask(command, "127.0.0.1:1")
        assert done.code == 0
        assert word in done.out
        assert state(ask) == word


def test_a_dry_run_shows_and_changes_nothing(ask: Ask) -> None:
    done = ask("drain", "127.0.0.1:1", "--dry-run")
    assert done.code == 0
    assert "draining" in done.out
    assert "127.0.0.1:1 would be draining; nothing was changed\n" in done.err
    assert state(ask) == "enabled"


def test_labels_are_shown_set_and_removed(ask: Ask) -> None:
    assert ask("labels", "127.0.0.1:1").out == "LABEL\tVALUE\nzone\ta\n"
    done = ask("labels", "127.0.0.1:1", "tier=fast", "zone-", "-o", "yaml")
    assert yaml.safe_load(done.out)["labels"] == {"tier": "fast"}
    assert ask("labels", "127.0.0.1:1", "tier-", "zone=a").out == "LABEL\tVALUE\nzone\ta\n"
    assert ask("labels", "127.0.0.1:1", "nonsense").code == 2


def test_a_check_of_a_dead_endpoint_fails_with_exit_code_8(ask: Ask) -> None:
    done = ask("check", "127.0.0.1:1")
    assert done.code == 8
    assert "connection refused" in done.out


@pytest.mark.parametrize("command", ["drain", "enable", "disable", "labels", "check"])
def test_an_unknown_endpoint_is_not_found(ask: Ask, command: str) -> None:
    done = ask(command, "127.0.0.1:2")
    assert done.code == 5
    assert done.err.endswith("[ENDPOINT_NOT_FOUND]\n")
