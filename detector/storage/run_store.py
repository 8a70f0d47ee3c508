"""The results of a run on disk, from which a run resumes after a kill, Ctrl-C or a full disk.

A store is a file of JSON lines. The header, {"made_by": {...}}, holds the settings that the results depend on. Each
line after it is the record of an image, with a field `image`, or {"done": NAME} once all output of a photo or video is
written. A last line that a kill cut off is dropped.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from detector.errors import InputError
from detector.storage.run_lock import RunLock
from proposals.files import atomic_write


class OutputError(InputError):
    """Results can no longer be stored, because the disk is full or the folder is gone; continuing would lose them."""


@contextmanager
def writing(path: Path, kind: type[InputError] = OutputError) -> Iterator[None]:
    """Turns an `OSError` of the block into an error that names `path`; `InputError` lets a run continue."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path}: cannot be written ({error.strerror or error})") from None


class RunStore:
    """One file of results, locked for this process.

    Args:
        path: the file; its folder must exist.
        made_by: settings that the results depend on; a file made by others is refused.
        resume: keep the records of an existing file. Otherwise it is replaced.
        finished_only: keep only the records of finished photos and videos: a video restarts from its first frame.
        busy: ends the error message where another process holds the lock.
        remedy: ends the error message where the file cannot be used.

    Attributes:
        finished: names of the photos and videos that are done.

    Raises:
        InputError: the file was made by other settings, is damaged, cannot be read or written, or is locked.
    """

    def __init__(
        self,
        path: Path,
        made_by: Mapping[str, Any],
        *,
        resume: bool = True,
        finished_only: bool = False,
        busy: str = "another run is writing there; wait for it",
        remedy: str = "repeat the earlier settings, or start over with --overwrite",
    ) -> None:
        self.path, self._remedy = path, remedy
        self.finished: set[str] = set()
        resume = resume and path.exists()
        with writing(path):
            self._lock = RunLock(path.with_name(f".{path.name}.lock"), busy)
            try:
                if resume:
                    check_settings(path, made_by, remedy)
                    self.finished = {record["done"] for _, record in self._lines() if "done" in record}
                # The header appears together with the file, so that a kill leaves no file without one.
                with atomic_write(path) as temporary, temporary.open("wb") as file:
                    file.write(_line({"made_by": made_by}))
                    for line, record in self._lines() if resume else ():
                        if not finished_only or record.get("done", source_of(record)) in self.finished:
                            file.write(line)
                self._file = path.open("ab")
            except BaseException:
                self._lock.close()
                raise

    def add(self, record: Mapping[str, Any]) -> None:
        """Appends the record of an image. Raises `OutputError` if that fails."""
        with writing(self.path):
            self._file.write(_line(record))
            self._file.flush()

    def finish(self, name: str) -> None:
        """Marks a photo or video as done. Raises `OutputError` if that fails."""
        self.add({"done": name})
        self.finished.add(name)

    def records(self) -> Iterator[dict[str, Any]]:
        """The records of images so far. Raises `InputError` if they cannot be read."""
        return (record for _, record in self._lines() if "image" in record)

    def close(self, remove: bool = False) -> None:
        """Closes the file, deletes it if `remove`, because the run is complete, and releases the lock."""
        try:
            with writing(self.path):  # a full disk is reported again when the file is closed
                self._file.close()
                if remove:
                    self.path.unlink(missing_ok=True)
        finally:
            self._lock.close()

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        return _read(self.path, self._remedy)


class ResultStore:
    """The results of a long evaluation, by image id; each process of torchrun writes its own part.

    Args:
        path: the final file of detections; the parts lie beside it as `path` + ".part-0" and so on.
        made_by: what the results depend on: model, data, settings. Parts made with different settings are refused.
        process: rank of this process.

    Attributes:
        entries: the records of all parts at the start, and those added since, by image id.

    Raises:
        InputError: as for `RunStore`.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any], process: int = 0) -> None:
        self.path, self._made_by = path, made_by
        part = path.with_name(f"{path.name}.part-{process}")
        busy = f"another evaluation is writing {path.name} there; wait for it, or give another file"
        self.entries = self.gather()  # before this process's part is made, which must not lie beside parts of others
        self._store = RunStore(part, made_by, busy=busy, remedy=_PART_REMEDY)

    def add(self, entry: dict[str, Any]) -> None:
        """Appends the result of an image. Raises `OutputError` if that fails."""
        self.entries[entry["image"]] = entry
        self._store.add(entry)

    def gather(self) -> dict[str, dict[str, Any]]:
        """The results of all processes so far, by image id.

        An image has several where a result was an error, or lacked the trace that this run needs; a run with another
        number of processes may have them in any order of parts. The most complete one counts.
        """
        entries: dict[str, dict[str, Any]] = {}
        for part in parts_of(self.path):
            check_settings(part, self._made_by, _PART_REMEDY)
            for _, entry in _read(part, _PART_REMEDY):
                if "image" not in entry:
                    raise InputError(f"{part}: holds a record without an image; {_PART_REMEDY}")
                if _completeness(entry) >= _completeness(entries.get(entry["image"], {"error": ""})):
                    entries[entry["image"]] = entry
        return entries

    def close(self) -> None:
        """Closes this process's part, which stays on disk."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parts_of(path: Path) -> list[Path]:
    """The parts of an unfinished evaluation beside its final file."""
    prefix = f"{path.name}.part-"
    return (
        sorted(file for file in path.parent.iterdir() if file.name.startswith(prefix)) if path.parent.is_dir() else []
    )


def check_settings(path: Path, made_by: Mapping[str, Any], remedy: str) -> dict[str, Any]:
    """The settings in the header of a file.

    Raises:
        InputError: one of `made_by` differs, or the file has no header or cannot be read; `remedy` ends the message.
    """
    try:
        with path.open("rb") as file:
            recorded = json.loads(file.readline())["made_by"]
        if not isinstance(recorded, dict):
            raise TypeError
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError(f"{path}: not a file of an unfinished run; {remedy}") from None
    changed = [
        # The data set is recorded by its digest, which says nothing to a reader.
        "other images, objects or classes" if key == "data" else f"{key} was {recorded.get(key)}, is {value}"
        for key, value in json.loads(json.dumps(made_by)).items()
        if recorded.get(key) != value
    ]
    if changed:
        raise InputError(f"{path}: made by a run with other settings ({'; '.join(changed)}); {remedy}")
    return recorded


def recorded_precision(path: Path) -> str | None:
    """The number format in which the networks of an unfinished run compute, which the resumed run must keep.

    None if the file does not exist or does not say.
    """
    try:
        precision = check_settings(path, {}, "").get("precision")
    except InputError:
        return None
    return precision if isinstance(precision, str) else None


def source_of(record: Mapping[str, Any]) -> str:
    """The name of the photo or video that a record belongs to."""
    name: str = record.get("video", record.get("image"))
    return name


_PART_REMEDY = "delete it to start over, or give another file"


def _completeness(entry: Mapping[str, Any]) -> tuple[bool, int]:
    return "error" not in entry, len(entry)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _read(path: Path, remedy: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The complete lines after the header, each with its record."""
    try:
        with path.open("rb") as file:
            file.readline()
            for number, line in enumerate(file, start=2):
                if not line.endswith(b"\n"):
                    return
                try:
                    record = json.loads(line)
                    if not isinstance(record.get("image", record.get("done")), str):
                        raise ValueError
                except (ValueError, AttributeError, RecursionError):
                    raise InputError(f"{path}: line {number} is damaged; {remedy}") from None
                yield line, record
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
