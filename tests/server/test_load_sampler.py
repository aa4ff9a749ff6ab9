import asyncio
import resource

import pytest

from hub.base.clock import SystemClock
from hub.base.settings import OverloadSettings
from hub.server import load_sampler
from hub.server.load_sampler import LoadSampler, budgets, memory_of_machine, open_descriptors
from hub.service.overload.pressure import Level, Load, Pressure
from hub.service.overload.shedding import Overload
from hub.stores.sqlite import SqliteStore
from tests.support.waiting import wait_until


def test_the_memory_of_this_process_is_known() -> None:
    assert 10_000_000 < load_sampler.resident_bytes() < memory_of_machine()


def test_an_open_file_is_a_descriptor(tmp_path) -> None:
    before = open_descriptors()
    files = [(tmp_path / "a").open("w") for _ in range(50)]
    assert open_descriptors() >= before + 50
    for file in files:
        file.close()


def test_budgets_are_the_settings_or_a_share_of_the_machine() -> None:
    given = budgets(OverloadSettings(memory_bytes=123_456_789, loop_lag_s=0.5))
    assert (given.memory, given.loop_lag) == (123_456_789, 0.5)
    assert given.descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert budgets(OverloadSettings()).memory == memory_of_machine() * 0.75


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/", "memory.max"),
        ("0::/system.slice/llm-hub.service", "system.slice/llm-hub.service/memory.max"),
        ("0::/system.slice/llm-hub.service", "system.slice/memory.max"),
        ("0::/../elsewhere", "memory.max"),
        ("5:cpu,memory:/docker/1", "memory/docker/1/memory.limit_in_bytes"),
        ("5:cpu,memory:/docker/1", "memory/memory.limit_in_bytes"),
    ],
)
def test_a_control_group_has_less_than_the_machine(tmp_path, monkeypatch, line, file) -> None:
    own, root = tmp_path / "own", tmp_path / "cgroup"
    own.write_text(f"7:pids:/x\n{line}\n")
    monkeypatch.setattr(load_sampler, "_OWN_GROUPS", own)
    monkeypatch.setattr(load_sampler, "_CGROUPS", root)
    machine = memory_of_machine()
    limit = root / file
    limit.parent.mkdir(parents=True)
    for text, expected in (("max\n", machine), ("1048576\n", 1_048_576), ("99" * 12, machine)):
        limit.write_text(text)
        assert memory_of_machine() == expected


async def test_it_samples_until_it_is_stopped(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(load_sampler, "_PERIOD_S", 0.005)
    released = []
    monkeypatch.setattr(load_sampler, "resident_bytes", lambda: 900)
    monkeypatch.setattr(load_sampler, "release_free_memory", lambda: released.append(None))
    overload = Overload(Pressure(Load(10.0, 1000.0, 1e9, 1e9)))
    sampler = LoadSampler(overload, SqliteStore(tmp_path / "hub.db"), SystemClock())
    failures = []
    sampler.start(lambda: failures.append(None))
    await wait_until(lambda: overload.level is Level.REPORTS)
    assert overload.pressure.by_resource["memory"] == 0.9
    await sampler.stop()
    await sampler.stop()
    overload.update(Load(), 0)
    by_now = overload.pressure.by_resource["memory"]
    await asyncio.sleep(0)
    assert overload.pressure.by_resource["memory"] == by_now == 0
    assert failures == []
    # Once: at most every five seconds.
    assert released == [None]


def test_freed_memory_goes_back_to_the_system() -> None:
    blocks = [bytes(50_000) for _ in range(4_000)]
    kept = blocks[::400]
    full = load_sampler.resident_bytes()
    del blocks
    load_sampler.release_free_memory()
    assert load_sampler.resident_bytes() < full - 100_000_000
    assert len(kept) == 10
