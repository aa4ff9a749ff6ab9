"""The log of facts: reading it back, the effect of damage, and its maximum size."""

import errno
import os
import stat

import pytest

from hub.base.moment import Moment
from hub.stores.facts_file import FactsFile, FactsFileError, is_in_use, read

BOOT = "11111111-2222-3333-4444-555555555555"


def at(boot_ms: int) -> Moment:
    return Moment(BOOT, boot_ms, 1_800_000_000_000 + boot_ms)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "facts.log"


@pytest.fixture
def file(path):
    made = FactsFile(path, boot_id=BOOT)
    yield made
    made.close()


def values(path):
    return {key: fact.value for key, fact in read(path).items()}


def test_the_latest_value_of_each_key_is_read_with_its_moment(path, file):
    file.write({"a": b"1", "b": b"", "c/\u00fc": b"3"}, at(5))
    file.write({"a": b"4", "b": None}, at(9))
    assert values(path) == {"a": b"4", "c/\u00fc": b"3"}
    assert read(path)["a"].written == at(9)
    assert read(path)["c/\u00fc"].written == at(5)


def test_a_missing_file_has_no_facts(path):
    assert read(path) == {}
    assert not is_in_use(path)


def test_only_the_owner_may_read_the_file(path, file):
    file.write({"a": b"1"}, at(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_process_at_a_time_uses_the_file(path, file):
    assert is_in_use(path)
    file.close()
    assert not is_in_use(path)


def test_a_rewritten_file_keeps_values_and_moments_and_is_still_in_use(path, file):
    big = b"x" * 100_000
    for number in range(40):
        file.write({"same": big + bytes([number]), f"own/{number}": b"v"}, at(number))
    assert path.stat().st_size < 2_000_000
    found = read(path)
    assert found["same"].value == big + bytes([39])
    assert [found[f"own/{number}"].written for number in range(40)] == list(map(at, range(40)))
    assert is_in_use(path)
    assert os.listdir(path.parent) == [path.name]


def test_neither_a_value_that_does_not_fit_nor_its_older_one_is_kept(path):
    file = FactsFile(path, boot_id=BOOT, max_bytes=1000)
    file.write({"a": b"x" * 400, "b": b"x" * 400}, at(1))
    file.write({"a": b"x" * 900, "c": b"y"}, at(2))
    assert set(values(path)) == {"b", "c"}
    assert file.dropped == 1
    file.write({"b": None, "a": b"x" * 900}, at(3))
    assert set(values(path)) == {"a", "c"}
    file.close()


def test_a_truncated_file_is_used_up_to_its_last_whole_frame(path, file):
    file.write({"a": b"1"}, at(1))
    whole = path.stat().st_size
    file.write({"a": b"2", "b": b"3"}, at(2))
    end = path.stat().st_size
    data = path.read_bytes()
    for length in range(whole, end):
        path.write_bytes(data[:length])
        assert values(path) == {"a": b"1"}
    # After a crash of the machine the tail may be zeros.
    path.write_bytes(data[:whole] + bytes(end - whole))
    assert values(path) == {"a": b"1"}


@pytest.mark.parametrize("length", [1, 8, 40])
def test_a_file_with_a_truncated_header_is_not_used(path, file, length):
    file.write({"a": b"1"}, at(1))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FactsFileError, match="truncated"):
        read(path)


def test_a_garbled_byte_never_makes_a_wrong_value(path, file):
    file.write({"a": b"first"}, at(1))
    file.write({"b": b"second"}, at(2))
    data = path.read_bytes()
    refused = 0
    for index in range(74, len(data)):
        path.write_bytes(data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :])
        try:
            found = values(path)
        except FactsFileError:
            refused += 1
        else:
            # A garbled length can look as if the file ended there.
            assert found.items() <= {"a": b"first", "b": b"second"}.items()
    assert refused > len(data) // 4


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SQLite format 3\0" + bytes(100), "does not contain a hub's facts"),
        (b"LLMHFACT\x00\x02" + bytes(100), "format version 2"),
        (b"", "truncated"),
    ],
)
def test_a_file_of_another_program_or_version_is_not_used(path, data, why):
    path.write_bytes(data)
    with pytest.raises(FactsFileError, match=why):
        read(path)


def test_a_pipe_or_directory_is_not_used(path):
    os.mkfifo(path)
    with pytest.raises(FactsFileError, match="regular"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(FactsFileError):
        read(path)


def test_a_file_that_is_too_long_is_not_read(path):
    with path.open("wb") as made:
        made.truncate(10_000_000)
    with pytest.raises(FactsFileError, match="larger than a hub writes"):
        read(path, max_bytes=1000)


def test_a_full_disk_leaves_no_half_frame(path, file, monkeypatch):
    file.write({"a": b"1"}, at(1))
    write = os.write

    def full(descriptor, data):
        monkeypatch.undo()
        monkeypatch.setattr(os, "write", fail)
        return write(descriptor, data[:10])

    def fail(_descriptor, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        file.write({"b": b"2"}, at(2))
    monkeypatch.undo()
    assert values(path) == {"a": b"1"}
    file.write({"b": b"3"}, at(3))
    assert values(path) == {"a": b"1", "b": b"3"}


def test_a_file_that_cannot_be_rewritten_does_not_grow(path, file):
    big = b"x" * 600_000
    file.write({"a": big}, at(1))
    file.write({"a": big}, at(2))
    os.mkdir(path.with_name(path.name + ".new"))
    before = path.stat().st_size
    with pytest.raises(OSError, match=r"directory|File exists"):
        file.write({"a": big}, at(3))
    assert path.stat().st_size == before
    os.rmdir(path.with_name(path.name + ".new"))
    file.write({"a": b"small"}, at(4))
    assert values(path) == {"a": b"small"}
