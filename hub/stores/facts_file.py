"""The file behind `LocalFacts`: the latest values as an append-only log. Blocking.

    header   magic, format version, boot id
    frame    length, CRC-32 of the payload, payload
    payload  boot ms, wall ms, then records: key length, value length, key, value

Each frame is one write and carries its time. Nothing is synced: all data survives a crash
of the process, but a crash of the machine may lose the tail. If a file was truncated, the
part before that is used; a file that is damaged in any other way is not used at all.

The log is rewritten when more than half of it is outdated, and every time it is opened.
"""

import fcntl
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hub.base.moment import Moment

DEFAULT_MAX_BYTES: Final = 256 * 1024 * 1024

_MAGIC: Final = b"LLMHFACT"
_VERSION: Final = 1
_HEADER: Final = struct.Struct(">8sH64s")
_FRAME: Final = struct.Struct(">II")
_MOMENT: Final = struct.Struct(">qq")
_RECORD: Final = struct.Struct(">HI")
_REMOVED: Final = 0xFFFFFFFF
_MAX_KEY: Final = 4096
# A shorter log is not worth rewriting.
_WORTH_REWRITING: Final = 1024 * 1024
_FRAME_TARGET: Final = 256 * 1024


class FactsFileError(Exception):
    """The file cannot be read or used; the message explains why."""


@dataclass(frozen=True, slots=True)
class StoredFact:
    """A value, and the time at which it was written."""

    value: bytes
    written: Moment


@dataclass(frozen=True, slots=True)
class _Place:
    """The position of a value in the file."""

    offset: int
    length: int
    written: Moment


def read(path: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> dict[str, StoredFact]:
    """The latest value of each key; empty if there is no file. Raises FactsFileError."""
    try:
        data = _content(path, 2 * max_bytes + _WORTH_REWRITING)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FactsFileError(error.strerror or str(error)) from error
    facts: dict[str, StoredFact] = {}
    try:
        for key, place in _scan(data):
            if place is None:
                facts.pop(key, None)
            else:
                value = data[place.offset : place.offset + place.length]
                facts[key] = StoredFact(value, place.written)
    except struct.error as error:
        raise FactsFileError("its records are damaged") from error
    return facts


class FactsFile:
    """An open log. Must not be used by two threads at once.

    `max_bytes` bounds the latest values, and the file to twice as much. A value that does
    not fit is not kept, and neither is the older value of its key. `dropped` counts such
    values.
    """

    def __init__(
        self,
        path: Path,
        values: Iterable[tuple[str, StoredFact]] = (),
        *,
        boot_id: str,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        """Writes a new file with `values`, which replaces any file at `path`. Raises OSError.

        All values must have been written in the boot `boot_id`.
        """
        self._path = path
        self._boot_id = boot_id
        self._max_bytes = max_bytes
        self._places: dict[str, _Place] = {}
        self._live_bytes = 0
        self.dropped = 0
        self._file = -1
        self._size = 0
        self._replace((key, fact.value, fact.written) for key, fact in values)

    def write(self, values: Mapping[str, bytes | None], now: Moment) -> None:
        """Appends one frame. Raises OSError if nothing was written."""
        if self._size > max(_WORTH_REWRITING, 2 * self._live_bytes):
            self._rewrite()
        records: list[tuple[str, bytes | None]] = []
        live_bytes = self._live_bytes
        for key, value in values.items():
            if value is not None:
                live_bytes += _size_of(key, len(value)) - self._size_of(key)
                if live_bytes > self._max_bytes or len(key.encode()) > _MAX_KEY:
                    live_bytes -= _size_of(key, len(value))
                    self.dropped += 1
                    records.append((key, None))
                    continue
            else:
                live_bytes -= self._size_of(key)
            records.append((key, value))
        frame, places = _frame(records, now, self._size)
        self._append(frame)
        self._take(places)

    def close(self) -> None:
        """Closes the file. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _size_of(self, key: str) -> int:
        place = self._places.get(key)
        return _size_of(key, place.length) if place is not None else 0

    def _append(self, frame: bytes) -> None:
        try:
            _write_all(self._file, frame)
        except OSError:
            # Half a frame would make everything after it unreadable.
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
                os.lseek(self._file, self._size, os.SEEK_SET)
            raise
        self._size += len(frame)

    def _take(self, places: Iterable[tuple[str, _Place | None]]) -> None:
        for key, place in places:
            self._live_bytes -= self._size_of(key)
            if place is None:
                self._places.pop(key, None)
            else:
                self._places[key] = place
                self._live_bytes += _size_of(key, place.length)

    def _rewrite(self) -> None:
        # One read, because many small ones would each wait for the interpreter's lock.
        data = os.pread(self._file, self._size, 0)
        latest = sorted(self._places.items(), key=lambda item: item[1].offset)
        self._replace(
            (key, data[place.offset : place.offset + place.length], place.written)
            for key, place in latest
        )

    def _replace(self, values: Iterable[tuple[str, bytes, Moment]]) -> None:
        temporary = self._path.with_name(self._path.name + ".new")
        with suppress(FileNotFoundError):
            temporary.unlink()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size, places = _write_log(descriptor, self._boot_id, values)
            os.replace(temporary, self._path)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                temporary.unlink()
            raise
        self.close()
        self._file, self._size = descriptor, size
        self._places, self._live_bytes = {}, 0
        self._take(places)


def is_in_use(path: Path) -> bool:
    """Whether another process has the file open as its log. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _content(path: Path, max_bytes: int) -> bytes:
    """The whole file. Raises OSError, FactsFileError."""
    # Non-blocking, so that a pipe with that name cannot delay the start.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FactsFileError("it is not a regular file")
        if found.st_size > max_bytes:
            raise FactsFileError(f"it is {found.st_size} bytes long, larger than a hub writes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _size_of(key: str, value_length: int) -> int:
    return _RECORD.size + len(key) + value_length


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _write_log(
    descriptor: int, boot_id: str, values: Iterable[tuple[str, bytes, Moment]]
) -> tuple[int, list[tuple[str, _Place | None]]]:
    """Writes a whole log. Returns its size and the positions of the values."""
    header = _HEADER.pack(_MAGIC, _VERSION, boot_id.encode("ascii", "replace"))
    _write_all(descriptor, header)
    size = len(header)
    places: list[tuple[str, _Place | None]] = []
    for written, records in _grouped(values):
        frame, placed = _frame(records, written, size)
        _write_all(descriptor, frame)
        size += len(frame)
        places += placed
    return size, places


def _grouped(
    values: Iterable[tuple[str, bytes, Moment]],
) -> Iterator[tuple[Moment, list[tuple[str, bytes | None]]]]:
    """Groups adjacent values of the same time, as many as fit into a frame."""
    records: list[tuple[str, bytes | None]] = []
    size = 0
    last: Moment | None = None
    for key, value, written in values:
        if last is not None and (written != last or size > _FRAME_TARGET):
            yield last, records
            records, size = [], 0
        records.append((key, value))
        size += len(value)
        last = written
    if last is not None:
        yield last, records


def _frame(
    records: Iterable[tuple[str, bytes | None]], written: Moment, offset: int
) -> tuple[bytes, list[tuple[str, _Place | None]]]:
    """A frame that begins at `offset`, and the positions of its values."""
    parts = [_MOMENT.pack(written.boot_ms, written.wall_ms)]
    places: list[tuple[str, _Place | None]] = []
    at = offset + _FRAME.size + _MOMENT.size
    for key, value in records:
        name = key.encode()
        length = len(value) if value is not None else 0
        parts += (_RECORD.pack(len(name), _REMOVED if value is None else length), name)
        at += _RECORD.size + len(name)
        if value is not None:
            parts.append(value)
            places.append((key, _Place(at, length, written)))
            at += length
        else:
            places.append((key, None))
    payload = b"".join(parts)
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload, places


def _scan(data: bytes) -> Iterator[tuple[str, _Place | None]]:
    """The records of a log in order. Raises FactsFileError."""
    if len(data) < _HEADER.size:
        raise FactsFileError("its header is truncated")
    magic, version, boot_name = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise FactsFileError("it does not contain a hub's facts")
    if version != _VERSION:
        raise FactsFileError(f"it has format version {version}, but this hub reads {_VERSION}")
    boot_id = boot_name.rstrip(b"\0").decode("ascii", "replace")
    at = _HEADER.size
    while at + _FRAME.size + _MOMENT.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, at)
        begin, end = at + _FRAME.size, at + _FRAME.size + length
        if length < _MOMENT.size or end > len(data):
            return
        if zlib.crc32(data[begin:end]) != checksum:
            raise FactsFileError(f"it is damaged at byte {at}")
        yield from _records(data, begin, end, boot_id)
        at = end


def _records(
    data: bytes, begin: int, end: int, boot_id: str
) -> Iterator[tuple[str, _Place | None]]:
    written = Moment(boot_id, *_MOMENT.unpack_from(data, begin))
    at = begin + _MOMENT.size
    while at < end:
        key_length, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        key = data[at : at + key_length].decode("utf-8", "replace")
        at += key_length
        if length == _REMOVED:
            yield key, None
        else:
            yield key, _Place(at, length, written)
            at += length
