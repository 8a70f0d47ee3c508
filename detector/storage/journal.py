"""What a run over photos and videos has found so far, on the disk, so that the same command goes on after a stop.

JSON lines: first what the results depend on, then an entry a photo or frame, which carries the name of its `video`. A
photo or video is done, with its picture and all else, when a line {"done": name} follows. A line that was cut off by a
kill is dropped.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from detector.errors import InputError
from detector.storage.run_lock import RunLock
from proposals.files import atomic_write


class OutputError(InputError):
    """What is found can no longer be kept, so that going on would lose it: the disk is full, or the folder gone."""


class Journal:
    """The file of a run. It is made anew, or, if `resume` and it is there, what is done is taken from it.

    Attributes:
        finished: names of the photos and videos that are done.

    Raises:
        InputError: the file is of a run with other settings, is damaged, or cannot be read or written, or another
            process is at this run.
    """

    def __init__(self, path: Path, made_by: dict[str, Any], resume: bool = False) -> None:
        self.path = path
        self.finished: set[str] = set()
        made_by = json.loads(json.dumps(made_by))  # as it comes back from a file
        try:
            self._lock = RunLock(path.with_name(f".{path.name}.lock"), "another run is writing there; wait for it")
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
        try:
            self._begin(made_by, resume)
        except BaseException:
            self._lock.close()
            raise

    def _begin(self, made_by: dict[str, Any], resume: bool) -> None:
        path = self.path
        try:
            if resume and path.exists():
                self._check(made_by)
                self.finished = {line["done"] for line in _lines(path) if "done" in line}
                # What is not done goes: it is judged again, videos from their start.
                with atomic_write(path) as kept, kept.open("w", encoding="utf-8") as file:
                    _append(file, {"made_by": made_by})
                    for line in _lines(path):
                        if "done" in line or source_of(line) in self.finished:
                            _append(file, line)
            else:
                # The first line is there as soon as the file is: a kill between the two would leave one of no run.
                with atomic_write(path) as made, made.open("w", encoding="utf-8") as file:
                    _append(file, {"made_by": made_by})
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None

    def add(self, entry: dict[str, Any]) -> None:
        """Keeps an entry with a field `image`. Raises `OutputError` if that fails."""
        self._keep(entry)

    def finish(self, name: str) -> None:
        """A photo or video is done. Raises `OutputError` if that cannot be kept."""
        self._keep({"done": name})
        self.finished.add(name)

    def entries(self) -> Iterator[dict[str, Any]]:
        """All entries so far, one at a time. Raises `InputError` if they cannot be read."""
        try:
            yield from (line for line in _lines(self.path) if "image" in line)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror or error})") from None

    def close(self, remove: bool) -> None:
        """remove: nothing is left to do, and all results were written."""
        try:
            self._file.close()
            if remove:
                self.path.unlink(missing_ok=True)
        except OSError as error:  # a full disk is told of again when the file is closed
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from None
        finally:
            self._lock.close()

    def _keep(self, line: dict[str, Any]) -> None:
        try:
            _append(self._file, line)
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from None

    def _check(self, made_by: dict[str, Any]) -> None:
        try:
            with self.path.open(encoding="utf-8") as file:
                header = json.loads(file.readline())
            before = header["made_by"]
            differences = [f"{key} was {before.get(key)}, is {value}" for key, value in made_by.items()
                           if before.get(key) != value]  # fmt: skip
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise InputError(f"{self.path}: is not a file of an interrupted run; give another folder") from None
        if differences:
            what = "; ".join(differences)
            raise InputError(f"{self.path}: is of a run with other settings ({what}); give the same, or --overwrite")


def recorded_precision(path: Path) -> str | None:
    """The number format that the networks of an interrupted run computed in: going on, they must not change it.

    path: a file whose first line says what its results were made by. None if it does not say.
    """
    try:
        with path.open(encoding="utf-8") as file:
            precision = json.loads(file.readline())["made_by"]["precision"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return precision if isinstance(precision, str) else None


def source_of(entry: dict[str, Any]) -> str:
    """The name of the photo or video that an entry is of."""
    name: str = entry.get("video", entry["image"])
    return name


def _append(file: TextIO, line: dict[str, Any]) -> None:
    file.write(json.dumps(line) + "\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines after the first, without one that was cut off."""
    with path.open(encoding="utf-8") as file:
        file.readline()
        for number, text in enumerate(file, start=2):
            if not text.endswith("\n"):
                return
            try:
                line = json.loads(text)
                if not isinstance(line, dict) or not ("image" in line or "done" in line):
                    raise ValueError
            except (ValueError, RecursionError):
                raise InputError(f"{path}: line {number} is damaged; start anew with --overwrite") from None
            yield line
