"""The folder of a large run: its list of photos, and a file of results for each part of it.

`run.json` holds what the results depend on, `images.jsonl` the list, `shard-00000.jsonl` and so on the results, in the
order of the list. A shard is written when all its photos are done, beside its place and then renamed: it is there whole
or not at all, so that a run is gone on with by doing the shards that are missing.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.bulk.listing import ImageList, Shard, walk
from detector.bulk.stages import is_failure
from detector.errors import InputError
from detector.io.json import write_json
from detector.runner.writers import check_folder
from proposals.files import atomic_write

LARGEST_SHARD = 100_000
"""Photos: the results of shards that are not complete are in memory."""

MOST_SHARDS = 100_000
"""Files of a run, of each of which there is an object in memory and a task of Ray."""


_ABOUT = "run.json"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        images: in the list.
        done: of them, those with a result or an error.
        failed: of these, those with an error.
    """

    images: int
    done: int
    failed: int


class ShardFolder:
    """Collects the results of a run; the same run goes on where it was.

    Args:
        sources: what was asked for; they are listed once, in a new run.
        size: photos a shard.
        made_by: what the results depend on.

    Attributes:
        images: the list.
        start: folder in which relative names begin.
        shards: all of them; `todo`: those that are missing.

    Raises:
        InputError: the folder is of another run, or cannot be used.
    """

    def __init__(self, folder: Path, sources: Sequence[str], size: int, made_by: dict[str, Any]) -> None:
        if not 1 <= size <= LARGEST_SHARD:
            raise InputError(f"--shard {size}: is outside 1 to {LARGEST_SHARD}")
        check_folder(folder, f"--out {folder}")
        self.folder = folder
        self.images = ImageList(folder / "images.jsonl")
        # A name means other photos in another working directory.
        settings = {"sources": [os.path.abspath(one) for one in sources], "shard": size, **made_by}
        about = folder / _ABOUT
        if about.exists() and self.images.path.exists():
            self.start = _checked(about, settings)
        else:
            if any(folder.glob("shard-*.jsonl")):
                raise InputError(f"--out {folder}: has shards of a run whose list is gone; give another folder")
            if about.exists():
                _read(about)  # that of a run which was killed before it had its list may be replaced, and no other
            elif self.images.path.exists():
                raise InputError(f"{self.images.path}: is of no run, for there is no {about.name}; give another --out")
            self.start = Path.cwd()
            write_json(about, {"folder": str(self.start), **settings})
            self.images.write(walk(sources))
        self.shards = self.images.shards(size, MOST_SHARDS)
        self._open: dict[int, dict[int, bytes]] = {}
        self._missing: dict[int, Shard] = {}
        self._failed = 0
        for shard in self.shards:
            failures = self._failures(shard)
            if failures is None:
                self._missing[shard.number] = shard
            else:
                self._failed += failures
        self.todo = list(self._missing.values())

    def path(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.jsonl"

    def add(self, shard: int, place: int, line: bytes) -> bool:
        """Keeps a photo's result and writes its shard if it is the last of it. A result that is there already is not
        taken again. Whether it was taken.

        Raises:
            InputError: the shard cannot be written.
        """
        if shard not in self._missing or place in self._open.setdefault(shard, {}):
            return False
        lines = self._open[shard]
        lines[place] = line
        if len(lines) == self._missing[shard].count:
            path = self.path(shard)
            try:
                with atomic_write(path) as temporary:
                    temporary.write_bytes(b"".join(lines[place] + b"\n" for place in sorted(lines)))
            except OSError as error:
                raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
            self._failed += sum(map(is_failure, lines.values()))
            del self._open[shard], self._missing[shard]
        return True

    def missing(self) -> list[Shard]:
        """Parts of shards, of one photo each: those that have no result yet."""
        return [
            one
            for shard in self._missing.values()
            for one in self.images.singles(shard, set(range(shard.count)) - self._open.get(shard.number, {}).keys())
        ]

    @property
    def outcome(self) -> Outcome:
        """What is done so far, in whole shards."""
        images = sum(shard.count for shard in self.shards)
        return Outcome(images, images - sum(shard.count for shard in self._missing.values()), self._failed)

    def _failures(self, shard: Shard) -> int | None:
        """Failed photos of a shard; None if it is not there, or not whole, as after a copy that was cut short."""
        path = self.path(shard.number)
        lines = failures = 0
        whole = True
        try:
            with path.open("rb") as file:
                for line in file:
                    lines, whole = lines + 1, line.endswith(b"}\n")
                    failures += whole and is_failure(line)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        except ValueError:  # no JSON
            return None
        return failures if whole and lines == shard.count else None


def recorded_precision(folder: Path) -> str | None:
    """The number format in which the networks of the run in a folder compute on CPUs; None if there is no run.

    Raises:
        InputError: the folder is of another kind of run, or cannot be read.
    """
    about = folder / _ABOUT
    precision = _read(about).get("precision") if about.exists() else None
    return precision if isinstance(precision, str) else None


def _read(about: Path) -> dict[str, Any]:
    """What a run depends on, and the folder that its names begin in."""
    try:
        content = json.loads(about.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{about}: cannot be read ({error.strerror or error})") from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("folder"), str) or "shard" not in content:
        raise InputError(f"{about}: is not of a run over many photos; give another --out")
    return content


def _checked(about: Path, settings: dict[str, Any]) -> Path:
    """The folder that names begin in, of a run with these settings."""
    before = _read(about)
    now = json.loads(json.dumps(settings))  # as it comes back from a file
    different = [f"{key} was {before.get(key)}, is {value}" for key, value in now.items() if before.get(key) != value]
    if different:
        raise InputError(f"{about}: is of a run with other settings ({'; '.join(different)}); give another --out")
    return Path(before["folder"])
