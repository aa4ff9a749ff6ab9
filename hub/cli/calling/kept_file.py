"""A file that other programs read: replaced as a whole, once its contents have settled."""

import os
import tempfile
from pathlib import Path

_WORLD_READABLE = 0o644


class Settling:
    """Decides when contents that keep changing are worth writing. Times are in seconds.

    A change is due once nothing has changed for `quiet_s`, or after ten times that long if
    something changes all the time.
    """

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._latest: bytes | None = None
        self._first_at = self._latest_at = 0.0
        self.is_waiting = False
        """Whether a change is not due yet."""

    def is_due(self, contents: bytes, now_s: float) -> bool:
        """Whether to write the contents now, the latest that there are."""
        if contents != self._latest:
            if not self.is_waiting:
                self._first_at = now_s
            self._latest, self._latest_at, self.is_waiting = contents, now_s, True
        due = self.is_waiting and (
            now_s - self._latest_at >= self._quiet_s or now_s - self._first_at >= 10 * self._quiet_s
        )
        self.is_waiting = self.is_waiting and not due
        return due


def read_contents(path: Path) -> bytes | None:
    """The contents of the file, or None if there is none. Raises OSError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def replace_contents(path: Path, contents: bytes, *, private: bool) -> None:
    """Replaces the file in one step, on disk; a reader sees the old or the new contents.

    The file keeps its mode and, if it is a link, stays one. A new file is for its owner only
    if `private`, else readable by all. Raises OSError.
    """
    path = Path(os.path.realpath(path))
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        mode = _WORLD_READABLE
    if private:
        mode &= 0o700
    file, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(file, "wb") as out:
            out.write(contents)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
