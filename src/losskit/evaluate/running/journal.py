"""An append-only file of finished documents, so that a run killed at any moment goes on where it stood.

The first line is the header, each further line one record, all of them ASCII JSON. A line counts once its newline is there. JSON
has no NaN: it is written as ``"nan"``, infinities as ``"inf"`` and ``"-inf"``, and a text like that as ``"~nan"``.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import reprlib
import sys
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Journal", "JournalError"]

_SCHEMA = "losskit.journal/1"
_START = b'{"schema": "losskit.journal/'  # of any version
_ESCAPED = re.compile(r"~*(?:nan|-?inf)")
# a killed process that held a large model lets go of its lock only after its memory is freed
_PATIENCE = 5.0
_OPEN: weakref.WeakSet[Journal] = weakref.WeakSet()


class JournalError(ValueError):
    """A journal that cannot be used: another evaluation's, in use, or broken."""


class Journal:
    """One append-only file of records under a fingerprint, made by :meth:`open`; one process writes it at a time.

    ``records`` holds what was finished when the journal was opened, in the files of all ranks, and what this one appended since.
    Ranks that share a journal open it, then wait for each other, and only then append: so that all start from the same records.
    """

    def __init__(self, path: Path, file: io.FileIO, end: int) -> None:
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        self._file, self._end, self._dirty = file, end, False
        _OPEN.add(self)

    @classmethod
    def open(cls, path: Path, fingerprint: Mapping[str, object], *, rank: int = 0) -> Journal:
        """Create the journal or go on with it.

        Args:       ``fingerprint``: what must be the same for old records to count, as JSON has it. ``rank``: 0 writes ``path``
                    itself, rank r ``path.r``; all ranks read all of these files, whatever number of ranks wrote them.
        Raises:     JournalError for a file that is another evaluation's, is written by another process, or is broken before its
                    last line; OSError where the disk fails.
        """
        mine = Path(f"{path}.{rank}") if rank else Path(path)
        header = _dumps({"schema": _SCHEMA, "fingerprint": fingerprint})
        file = _locked(mine)
        try:
            journal = cls(mine, file, _good_end(mine))
            for each in _files(Path(path), mine):
                journal._read(each, header)
            journal._dirty = True  # whatever follows the last newline is cut off
            journal._write(b"" if journal._end else header, "start")
            if journal._end == len(header):
                _sync_folder(mine.parent)
        except BaseException:
            file.close()
            raise
        return journal

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add finished records, each with a text under ``"id"``; they are on the disk when this returns.

        A record that is there already is not written again, one that differs from it is refused. If the disk fails, the file is
        cut back to what it held before, and can be appended to again.
        """
        fresh: dict[str, dict[str, Any]] = {}
        lines = []
        for record in records:
            if not isinstance(record.get("id"), str):
                raise ValueError(f'"id" of a record is {record.get("id")!r}, expected a text: it names the document')
            line = _dumps(record)
            read = _loads(line)  # as a resumed run will have it
            known = self.records.get(read["id"], fresh.get(read["id"]))
            if known is None:
                fresh[read["id"]] = read
                lines.append(line)
            else:
                _same(f"{str(self.path)!r}: a new record", known, read)
        self._write(b"".join(lines), f"take {len(fresh)} more records")
        self.records.update(fresh)

    def close(self) -> None:
        """Let go of the file and of its lock."""
        self._file.close()

    def _read(self, path: Path, header: bytes) -> None:
        for number, line in _lines(path):
            place = f"{str(path)!r}:{number}"
            try:
                found = _loads(line)
            except (ValueError, RecursionError):
                found = None
            if number == 1:
                _fits(path, found, _loads(header))
            elif not isinstance(found, dict) or not isinstance(found.get("id"), str):
                raise JournalError(f'{place} is not a record with an "id": delete the line, and its document is scored again')
            else:
                _same(place, self.records.setdefault(found["id"], found), found)

    def _write(self, data: bytes, purpose: str) -> None:
        """Put ``data`` behind the last good end, or leave the file as it was."""
        if self._file.closed:
            raise ValueError(f"the journal {str(self.path)!r} is closed: open it again to append")
        if not data and not self._dirty:
            return
        number, rest = self._file.fileno(), memoryview(data)
        try:
            if self._dirty:
                os.ftruncate(number, self._end)
            self._dirty = True
            while rest:
                rest = rest[os.write(number, rest) :]
            os.fsync(number)
        except BaseException as error:
            with contextlib.suppress(OSError):  # then the next append tries again, and a reader drops the torn line
                os.ftruncate(number, self._end)
                os.fsync(number)
                self._dirty = False
            if isinstance(error, OSError):
                raise self._failed(error, purpose) from error
            raise
        self._end, self._dirty = self._end + len(data), False

    def _failed(self, error: OSError, purpose: str) -> OSError:
        found = OSError(
            f"the journal {str(self.path)!r} could not {purpose} ({error.strerror or error}): "
            f"the {len(self.records)} from before are safe; make room, then resume"
        )
        found.errno = error.errno
        return found


def _files(path: Path, mine: Path) -> list[Path]:
    """The files of all ranks, rank 0 first."""
    pattern = re.compile(re.escape(path.name) + r"\.([1-9][0-9]*)")
    others = sorted((int(found[1]), entry) for entry in path.parent.iterdir() if (found := pattern.fullmatch(entry.name)))
    return [each for each in [path, *(entry for _, entry in others)] if each == mine or each.is_file()]


def _locked(path: Path) -> io.FileIO:
    """The file, made if need be, for this process alone."""
    name = str(path)
    if path.exists() and not path.is_file():  # to read a device or a pipe might never end
        raise JournalError(f"the journal {name!r} is {'a folder' if path.is_dir() else 'a device'}, expected a file: name one")
    try:
        file = io.FileIO(name, "a+")
    except FileNotFoundError:
        raise JournalError(f"the journal {name!r} is in a folder that does not exist: make {str(path.parent)!r} first") from None
    except OSError as error:
        raise JournalError(f"the journal {name!r} cannot be written ({error.strerror}): name a file that can") from error
    try:
        _lock(file, name)
    except BaseException:
        file.close()
        raise
    return file


def _lock(file: io.FileIO, name: str) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise JournalError(f"the journal {name!r} cannot be locked ({error.strerror}): use a local disk") from error
        if time.monotonic() > until:
            raise JournalError(f"the journal {name!r} is written by another process: wait for it, end it, or name another file")
        time.sleep(0.05)


def _good_end(path: Path) -> int:
    """Behind the last newline. A file without one is new, if it is empty or begins like a header that was cut short."""
    with path.open("rb") as file:
        if not _START.startswith(file.read(len(_START))):
            raise JournalError(f"{str(path)!r} is not a journal of losskit: it is left as it is, name another file")
        end = file.seek(0, os.SEEK_END)
        while end:
            size = min(end, 1 << 20)
            file.seek(end - size)
            found = file.read(size).rfind(b"\n")
            if found >= 0:
                return end - size + found + 1
            end -= size
    return 0


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines; another rank may be in the midst of its last one."""
    end = _good_end(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            end -= len(line)
            if end < 0:
                return
            yield number, line


def _fits(path: Path, found: Any, wanted: dict[str, Any]) -> None:
    if not isinstance(found, dict) or not isinstance(found.get("fingerprint"), dict) or found.get("schema") != _SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else None
        raise JournalError(f"the journal {str(path)!r} has schema {schema!r}, expected {_SCHEMA!r}: name a new file")
    keys = _differences(found["fingerprint"], wanted["fingerprint"])
    if keys:
        raise JournalError(
            f"the journal {str(path)!r} is of another evaluation: {', '.join(keys)}; "
            "name a new file, or evaluate with the settings of before"
        )


def _same(place: str, known: dict[str, Any], found: dict[str, Any]) -> None:
    keys = known is not found and _differences(known, found)
    if keys:
        raise JournalError(f'{place} has "id" {found["id"]!r} a second time, and {", ".join(keys)}: delete one of the two')


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> list[str]:
    """What differs, by key, in the order of the keys; texts of JSON are compared, where NaN is itself and 1 is not 1.0."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        name, a, b = f"{above}{key}", old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{name}.")
        elif (key in old, _sorted(a)) != (key in new, _sorted(b)):
            there, here = (reprlib.repr(values[key]) if key in values else "absent" for values in (old, new))
            found.append(f'"{name}" was {there}, is {here}')
    return found


def _sorted(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    """The value as JSON can write it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, str) and _ESCAPED.fullmatch(value):
        return f"~{value}"
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _read_back(value: Any) -> Any:
    if isinstance(value, str) and _ESCAPED.fullmatch(value):
        return value[1:] if value[0] == "~" else float(value)
    if isinstance(value, dict):
        return {key: _read_back(each) for key, each in value.items()}
    return [_read_back(each) for each in value] if isinstance(value, list) else value


def _dumps(value: Any) -> bytes:
    return json.dumps(_plain(value), allow_nan=False).encode("ascii") + b"\n"


def _loads(line: bytes) -> Any:
    return _read_back(json.loads(line.decode()))  # bytes might be taken for UTF-16


def _sync_folder(folder: Path) -> None:
    """A new file survives a crash of the machine only if the folder that names it is on the disk too."""
    with contextlib.suppress(OSError):  # not every file system, and no Windows, syncs a folder
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _let_go() -> None:
    for journal in list(_OPEN):
        journal.close()


if hasattr(os, "register_at_fork"):
    # a forked worker that outlives its killed parent would keep the lock; closing here does not release the parent's
    os.register_at_fork(after_in_child=_let_go)
