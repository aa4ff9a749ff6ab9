"""Many orders of concurrent users: a share of `make interleavings`, and races that it must find."""

import asyncio
import sys
from collections.abc import Callable

import pytest

from hub.service.change_feed import ChangeFeed
from hub.service.changes.commits import Commits
from hub.service.changes.owners import Owners
from hub.service.handlers.waiting_selections import WaitingSelections
from hub.service.presence import Presence, Sidecar
from tests.support.interleavings import SCENARIOS, main, play, scenario_of

ORDERS = 100


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_must_hold_holds_in_every_order(name: str) -> None:
    for seed in range(ORDERS):
        try:
            play(name, seed)
        except AssertionError as error:
            raise AssertionError(f"{name}, seed {seed}: {error}") from error


def test_a_seed_is_played_again() -> None:
    for name in SCENARIOS:
        assert play(name, 7) == play(name, 7), name


def without_preconditions(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Commits.write
    monkeypatch.setattr(Commits, "write", lambda self, operations, *_: write(self, operations))


def a_pause_between_the_check_and_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = ChangeFeed.wait

    async def late(self: ChangeFeed, interest, after: int, timeout_s: float) -> None:
        if self._registry.event_revision > after:
            return
        await asyncio.sleep(0)
        await wait(self, interest, sys.maxsize, timeout_s)

    monkeypatch.setattr(ChangeFeed, "wait", late)


def the_last_to_leave_takes_the_newer_one_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(self: Presence, sidecar: Sidecar) -> None:
        self._by_agent.pop(sidecar.agent_id, None)

    monkeypatch.setattr(Presence, "leave", leave)


def anyone_takes_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Owners, "require", lambda *_: None)


def nothing_wakes_those_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WaitingSelections, "changed", lambda _self: None)


PLANTED: dict[Callable[[pytest.MonkeyPatch], None], tuple[str, str]] = {
    without_preconditions: ("registrar", r"\d+ changes acknowledged, \d+ kept"),
    a_pause_between_the_check_and_the_wait: ("watchers", "a watcher was not woken"),
    the_last_to_leave_takes_the_newer_one_along: ("sessions", "is connected, not present"),
    nothing_wakes_those_that_wait: ("waiting", "is free while a selection waits"),
    anyone_takes_an_endpoint: ("sessions", r"took .* which is connected"),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_race_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, symptom = PLANTED[plant]
    plant(monkeypatch)

    def search() -> None:
        for seed in range(ORDERS):
            play(name, seed)

    with pytest.raises(AssertionError, match=symptom):
        search()


def test_a_failure_is_printed_with_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    anyone_takes_an_endpoint(monkeypatch)
    seeds = [seed for seed in range(ORDERS) if scenario_of(seed) == "sessions"]
    assert main(ORDERS, 0)
    printed = capsys.readouterr().out
    assert any(f"sessions, seed {seed}:" in printed for seed in seeds), printed
