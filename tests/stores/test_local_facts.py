"""The local engine: ages survive restarts, reboots and clock jumps; damage never stops it."""

import errno
import os
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from hub.base.moment import Moment
from hub.stores.local_facts import LocalFacts
from hub.stores.shared_facts import FactsUnavailable

HOUR = 3_600_000


class Machine:
    """A machine whose clocks the test sets."""

    def __init__(self) -> None:
        self.moment = Moment("boot-1", 1_000_000, 1_800_000_000_000)

    def now(self) -> Moment:
        return self.moment

    def wait(self, ms: int) -> None:
        then = self.moment
        self.moment = replace(then, boot_ms=then.boot_ms + ms, wall_ms=then.wall_ms + ms)

    def set_wall_clock(self, by_ms: int) -> None:
        self.moment = replace(self.moment, wall_ms=self.moment.wall_ms + by_ms)

    def reboot(self, ms: int) -> None:
        self.moment = Moment(
            self.moment.boot_id + "'", boot_ms=ms // 2, wall_ms=self.moment.wall_ms + ms
        )


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "facts.log"


async def kept(path, machine):
    """The values and ages that the next start finds, by key."""
    facts = LocalFacts(path, machine)
    found = await facts.open()
    await facts.close()
    return {fact.key: (fact.value, fact.age_ms) for fact in found}


async def write(path, machine, **values):
    facts = LocalFacts(path, machine)
    await facts.open()
    await facts.publish(values)
    await facts.close()


async def test_a_fact_is_restored_with_its_age(path, machine):
    await write(path, machine, a=b"1", b=None)
    machine.wait(2_500)
    assert await kept(path, machine) == {"a": (b"1", 2_500)}


async def test_restarts_do_not_reset_the_age_of_facts(path, machine):
    await write(path, machine, a=b"1")
    for starts in range(1, 5):
        machine.wait(1_000)
        assert await kept(path, machine) == {"a": (b"1", 1_000 * starts)}


@pytest.mark.parametrize("jump_ms", [-HOUR, HOUR])
async def test_setting_the_wall_clock_does_not_change_ages(path, machine, jump_ms):
    await write(path, machine, a=b"1")
    machine.set_wall_clock(jump_ms)
    machine.wait(3_000)
    assert await kept(path, machine) == {"a": (b"1", 3_000)}


async def test_a_fact_survives_reboots(path, machine):
    await write(path, machine, a=b"1")
    machine.reboot(60_000)
    assert await kept(path, machine) == {"a": (b"1", 60_000)}
    machine.wait(1_000)
    machine.reboot(60_000)
    assert await kept(path, machine) == {"a": (b"1", 121_000)}


async def test_a_fact_of_unknown_age_is_not_used(path, machine):
    await write(path, machine, a=b"1")
    machine.reboot(60_000)
    machine.set_wall_clock(-HOUR)
    assert await kept(path, machine) == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        lambda path: path.write_bytes(path.read_bytes()[:-3] + b"???"),
        lambda path: path.write_bytes(b"LLMHFACT\x00\x09" + bytes(64)),
        lambda path: path.write_bytes(os.urandom(5000)),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["cut off", "garbled", "other version", "noise", "pipe"],
)
async def test_damage_is_logged_once_and_causes_a_cold_start(path, machine, damage):
    await write(path, machine, a=b"1")
    damage(path)
    facts = LocalFacts(path, machine)
    with capture_logs() as logs:
        assert await facts.open() == []
    assert [(line["event"], line["start"]) for line in logs] == [("facts_lost", "cold")]
    assert logs[0]["path"] == str(path)
    # From now on, the hub keeps facts again.
    await facts.publish({"b": b"2"})
    await facts.close()
    assert set(await kept(path, machine)) == {"b"}


@pytest.mark.parametrize("name", ["no-directory/facts.log", "a-directory", "a-file/facts.log"])
async def test_an_unusable_path_is_logged_once(tmp_path, machine, name):
    (tmp_path / "a-directory").mkdir()
    (tmp_path / "a-file").touch()
    facts = LocalFacts(tmp_path / name, machine)
    with capture_logs() as logs:
        assert await facts.open() == []
    assert [line["event"] for line in logs] == ["facts_not_kept"]
    with pytest.raises(FactsUnavailable):
        await facts.publish({"a": b"1"})
    await facts.close()


async def test_a_second_hub_leaves_the_file_alone(path, machine):
    first, second = LocalFacts(path, machine), LocalFacts(path, machine)
    await first.open()
    await first.publish({"a": b"1"})
    with capture_logs() as logs:
        assert await second.open() == []
    assert [line["why"] for line in logs] == ["another hub uses it"]
    await second.close()
    await first.publish({"b": b"2"})
    await first.close()
    assert set(await kept(path, machine)) == {"a", "b"}


async def test_a_full_disk_is_reported_to_the_caller(path, machine, monkeypatch):
    facts = LocalFacts(path, machine)
    await facts.open()
    await facts.publish({"a": b"1"})

    def fail(_descriptor, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(FactsUnavailable, match="No space left"):
        await facts.publish({"a": b"2"})
    monkeypatch.undo()
    await facts.publish({"a": b"3"})
    await facts.close()
    assert await kept(path, machine) == {"a": (b"3", 0)}


async def test_too_many_facts_are_logged_once(path, machine):
    facts = LocalFacts(path, machine, max_bytes=100)
    await facts.open()
    with capture_logs() as logs:
        for _ in range(3):
            await facts.publish({"a": bytes(200)})
    assert [line["event"] for line in logs] == ["facts_file_full"]
    await facts.close()
