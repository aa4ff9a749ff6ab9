import os
from pathlib import Path

import pytest

from hub.cli.calling.kept_file import Settling, read_contents, replace_contents


def due_at(changes: dict[float, bytes], quiet_s: float = 1.0, until_s: float = 30.0) -> list[float]:
    """When contents are due that change at the given times; asked every 0.5 s."""
    settling, found, latest = Settling(quiet_s), [], b""
    for half_seconds in range(int(2 * until_s)):
        now_s = half_seconds / 2
        latest = changes.get(now_s, latest)
        if settling.is_due(latest, now_s):
            found.append(now_s)
    return found


def test_a_change_is_due_once_it_has_settled() -> None:
    assert due_at({0: b"a", 5: b"b"}) == [1.0, 6.0]


def test_several_changes_are_one() -> None:
    assert due_at({0: b"a", 0.5: b"b", 1.0: b"c"}) == [2.0]


def test_constant_change_is_due_now_and_then() -> None:
    always = {half / 2: b"%d" % half for half in range(60)}
    assert due_at(always) == [10.0, 20.5]


def test_it_says_whether_a_change_is_waiting() -> None:
    settling = Settling(1.0)
    assert not settling.is_due(b"a", 0.0)
    assert settling.is_waiting
    assert settling.is_due(b"a", 1.0)
    assert not settling.is_waiting


def test_a_missing_file_has_no_contents(tmp_path: Path) -> None:
    assert read_contents(tmp_path / "none") is None
    with pytest.raises(IsADirectoryError):
        read_contents(tmp_path)


@pytest.mark.parametrize(("private", "mode"), [(False, 0o644), (True, 0o600)])
def test_a_new_file_is_readable_by_all_unless_it_is_private(
    tmp_path: Path, private: bool, mode: int
) -> None:
    replace_contents(tmp_path / "f", b"x", private=private)
    assert (tmp_path / "f").read_bytes() == b"x"
    assert (tmp_path / "f").stat().st_mode & 0o777 == mode


def test_the_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")
    file.chmod(0o640)
    with file.open("rb") as reader:
        replace_contents(file, b"new", private=False)
        # A program that has it open reads the old contents to their end.
        assert reader.read() == b"old"
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o640
    replace_contents(file, b"secret", private=True)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    replace_contents(tmp_path / "link", b"new", private=False)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_contents(tmp_path / "f", b"x", private=False)
    assert os.listdir(tmp_path) == ["f"]
