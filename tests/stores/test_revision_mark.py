from pathlib import Path

import pytest

from hub.stores.revision_mark import RevisionMark


def test_it_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    first = RevisionMark(path)
    assert first.revision == 0
    for revision in (1, 7, 2**60):
        first.write(revision)
    # Not closed: a kill closes nothing.
    again = RevisionMark(path)
    assert again.revision == 2**60
    assert path.stat().st_mode & 0o777 == 0o600
    for each in (first, again, again):
        each.close()
    first.write(3)
    assert RevisionMark(path).revision == 2**60


@pytest.mark.parametrize(
    "content", [b"", b"12345", b"\0" * 11 + b"\1", b"x" * 12, b"\1" + b"\0" * 11]
)
def test_a_damaged_mark_says_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mark"
    path.write_bytes(content)
    mark = RevisionMark(path)
    assert mark.revision == 0
    mark.write(9)
    assert RevisionMark(path).revision == 9


def test_a_mark_that_cannot_be_opened_or_written_disturbs_nothing(tmp_path: Path) -> None:
    nowhere = RevisionMark(tmp_path / "missing" / "mark")
    nowhere.write(1)
    assert nowhere.revision == 0
    nowhere.close()
    full = RevisionMark(Path("/dev/full"))
    full.write(1)
    full.close()
