"""Results of a long evaluation on the disk as they come, so that the same command goes on after it was stopped.

While an evaluation runs, each process appends its results to a file of its own beside the final one, one JSON object a
line, after a first line that says what they are results of. A line that was cut off by a kill is dropped.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from detector.errors import InputError
from detector.storage.run_lock import RunLock


class ResultStore:
    """The results that are on the disk, and a file that more are appended to.

    Args:
        path: the final file; parts are named `path` + ".part-0" and so on.
        made_by: what the results depend on: model, data, settings. Parts of anything else are refused.
        process: number of this process among those that work together.

    Raises:
        InputError: a part is of another evaluation, or cannot be read or written, or another process is at it.
    """

    def __init__(self, path: Path, made_by: dict[str, Any], process: int = 0) -> None:
        self.path = path
        self._made_by = json.loads(json.dumps(made_by))  # as it comes back from a file
        self._part = path.with_name(f"{path.name}.part-{process}")
        refusal = f"another evaluation is writing {path.name} there; wait for it, or give another file"
        try:
            self._lock = RunLock(path.with_name(f".{self._part.name}.lock"), refusal)
            try:
                self.entries = self.gather()
                _drop_torn_line(self._part)
                self._file = self._part.open("a", encoding="utf-8")
                if self._file.tell() == 0:
                    self._append({"made_by": self._made_by})
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise InputError(f"{self._part}: cannot be written ({error.strerror or error})") from None

    def add(self, entry: dict[str, Any]) -> None:
        """Appends the result of one image, whose id is its field `image`."""
        self.entries[entry["image"]] = entry
        self._append(entry)

    def gather(self) -> dict[str, dict[str, Any]]:
        """The results of all processes so far, by image id; of several of one image the one that tells most."""
        entries: dict[str, dict[str, Any]] = {}
        for entry in (entry for part in parts_of(self.path) for entry in self._read(part)):
            # With another number of processes an image's second result may be in a part before that of its first.
            if _tells(entry) >= _tells(entries.get(entry["image"], {"error": ""})):
                entries[entry["image"]] = entry
        return entries

    def close(self) -> None:
        """Closes this process' part; the results stay."""
        try:
            self._file.close()
        finally:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise InputError(f"{self._part}: cannot be written ({error.strerror or error})") from None

    def _read(self, part: Path) -> Iterator[dict[str, Any]]:
        number = 1
        try:
            with part.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if not line.endswith("\n"):
                        return  # torn
                    entry = json.loads(line)
                    if number > 1:
                        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
                            raise ValueError
                        yield entry
                    elif entry != {"made_by": self._made_by}:
                        raise InputError(f"{part}: {self._difference(entry)}; delete it, or give another file")
        except OSError as error:
            raise InputError(f"{part}: cannot be read ({error.strerror or error})") from None
        except InputError:
            raise
        except (ValueError, RecursionError):
            raise InputError(f"{part}: line {number} is damaged; delete the file to start anew") from None

    def _difference(self, header: Any) -> str:
        other = header.get("made_by") if isinstance(header, dict) else None
        if not isinstance(other, dict):
            return "holds no results"
        for name, value in self._made_by.items():
            if other.get(name) != value:
                what = f"{name} was {other.get(name)}, is {value}"
                if name == "data":  # a digest, which says nothing to a reader
                    what = "of other images, objects or classes"
                return f"holds results of another evaluation ({what})"
        return "holds results of another evaluation"


def _tells(entry: dict[str, Any]) -> tuple[bool, int]:
    return "error" not in entry, len(entry)


def parts_of(path: Path) -> list[Path]:
    """The parts that lie beside a file of results."""
    start = f"{path.name}.part-"
    return sorted(one for one in path.parent.iterdir() if one.name.startswith(start)) if path.parent.is_dir() else []


def _drop_torn_line(path: Path) -> None:
    """Cuts what comes after the last line end: the rest of a line whose writer was killed."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            place = file.read(end - start).rfind(b"\n")
            if place >= 0:
                end = start + place + 1
                break
            end = start
        file.truncate(end)
