"""The last revision that a store has acknowledged, kept outside of its log.

SQLite takes a frame with a wrong checksum for the end of the write-ahead log, so a damaged
log opens without what is behind it, and without an error. The mark shows that something is
missing. It is written after each transaction and not synchronised: after a kill it is
exact, after a power cut it may be behind the store, and then it shows nothing.
"""

import contextlib
import os
import zlib
from pathlib import Path
from struct import Struct, error
from typing import Final

_RECORD: Final = Struct("<QI")


class RevisionMark:
    """A file with one number. For a single thread. It never fails: a mark is not worth a commit."""

    def __init__(self, path: Path) -> None:
        self._file: int | None = None
        self.revision = 0
        """The revision in the file when it was opened; 0 if there is none that can be read."""
        with contextlib.suppress(OSError):
            self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self.revision = _decoded(os.pread(self._file, _RECORD.size, 0))

    def write(self, revision: int) -> None:
        """Notes that the store has acknowledged the revision."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, _RECORD.pack(revision, _checksum(revision)), 0)

    def close(self) -> None:
        """Closes the file. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _decoded(record: bytes) -> int:
    try:
        revision, checksum = _RECORD.unpack(record)
    except error:
        return 0
    return int(revision) if checksum == _checksum(revision) else 0


def _checksum(revision: int) -> int:
    return zlib.crc32(revision.to_bytes(8, "little"))
