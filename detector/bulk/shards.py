"""The folder of a large run: the list of its photos, and one file of results for each part of the list.

`images.jsonl` holds the settings and the list; `shard-00000.jsonl` and so on hold the results, in the order of the
list. A shard appears when all its photos are done, complete or not at all, so that a run continues with the missing
shards. Results arrive in any order, so a `RunStore`, which appends them, would lose the order of the list.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.bulk.listing import ImageList, Shard, walk
from detector.bulk.stages import is_failure
from detector.errors import InputError
from detector.runner.writers import check_folder
from detector.storage.run_store import check_settings, writing
from proposals.files import atomic_write

LIST = "images.jsonl"
"""Name of the file with the settings and the list."""

LARGEST_SHARD = 100_000
"""Photos: the results of incomplete shards are held in memory."""

MOST_SHARDS = 100_000
"""Files of a run: each takes an object in memory and a task of Ray."""


@dataclass(frozen=True)
class Outcome:
    """Progress of a run.

    Attributes:
        images: photos in the list.
        done: photos with a result or an error.
        failed: photos with an error.
    """

    images: int
    done: int
    failed: int


class ShardFolder:
    """Collects the results of a run, which continues if it is repeated.

    Args:
        sources: folders, photos and lists; they are listed once, by a new run.
        size: photos per shard.
        made_by: the settings that the results depend on.

    Attributes:
        images: the list.
        start: folder that relative names begin in.
        shards, remaining: all shards, and those that were missing when the run began.

    Raises:
        InputError: the folder belongs to another run, or cannot be used.
    """

    def __init__(self, folder: Path, sources: Sequence[str], size: int, made_by: Mapping[str, Any]) -> None:
        if not 1 <= size <= LARGEST_SHARD:
            raise InputError(f"--shard {size}: is outside 1 to {LARGEST_SHARD}")
        check_folder(folder, f"--out {folder}")
        self.folder = folder
        self.images = ImageList(folder / LIST)
        # Absolute, because a name means other photos in another working directory.
        settings = {"sources": [os.path.abspath(source) for source in sources], "shard": size, **made_by}
        if self.images.path.exists():
            recorded = check_settings(self.images.path, settings, "give another --out")
            self.start = Path(recorded.get("folder", ""))
        else:
            if any(folder.glob("shard-*.jsonl")):
                raise InputError(f"--out {folder}: has shards of a run but not its {LIST}; give another folder")
            self.start = Path.cwd()
            self.images.write({"folder": str(self.start), **settings}, walk(sources))
        self.shards = self.images.shards(size, MOST_SHARDS)
        # Results of incomplete shards, by number and index.
        self._results: dict[int, dict[int, bytes]] = {}
        self._missing: dict[int, Shard] = {}
        self._failed = 0
        for shard in self.shards:
            failures = self._failures(shard)
            if failures is None:
                self._missing[shard.number] = shard
            else:
                self._failed += failures
        self.remaining = list(self._missing.values())

    def path(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.jsonl"

    def add(self, shard: int, index: int, line: bytes) -> bool:
        """Keeps the result of a photo, and writes its shard once it is complete.

        Returns:
            Whether the photo had no result yet; a second one is ignored.

        Raises:
            InputError: the shard cannot be written.
        """
        if shard not in self._missing or index in self._results.setdefault(shard, {}):
            return False
        lines = self._results[shard]
        lines[index] = line
        if len(lines) == self._missing[shard].count:
            path = self.path(shard)
            with writing(path), atomic_write(path) as temporary:
                temporary.write_bytes(b"".join(lines[index] + b"\n" for index in sorted(lines)))
            self._failed += sum(map(is_failure, lines.values()))
            del self._results[shard], self._missing[shard]
        return True

    def missing(self) -> list[Shard]:
        """The photos without a result, each as a part of its shard."""
        return [
            photo
            for shard in self._missing.values()
            for photo in self.images.singles(
                shard, set(range(shard.count)) - self._results.get(shard.number, {}).keys()
            )
        ]

    @property
    def outcome(self) -> Outcome:
        """Progress so far, in complete shards."""
        images = sum(shard.count for shard in self.shards)
        return Outcome(images, images - sum(shard.count for shard in self._missing.values()), self._failed)

    def _failures(self, shard: Shard) -> int | None:
        """Number of failed photos in a shard; None if it is missing or cut short, as by a copy that was stopped."""
        path = self.path(shard.number)
        lines = failures = 0
        complete = True
        try:
            with path.open("rb") as file:
                for line in file:
                    lines, complete = lines + 1, line.endswith(b"}\n")
                    failures += complete and is_failure(line)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        except ValueError:  # invalid JSON
            return None
        return failures if complete and lines == shard.count else None
