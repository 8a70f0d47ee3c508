"""The stages of a large run before the network, in processes that need no PyTorch.

A stage turns rows into rows; Ray calls it with tables of Arrow that hold them. A row is a dictionary: `shard` and
`index` say where its result belongs, `name` is the photo's as bytes (names may be invalid text), `content` its file,
`boxes` its proposals, (N, 4) float32 as bytes, `seconds` the time for them, and `line` its result as JSON. A row with a
`line` is done, and later stages pass it through.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.bulk.listing import ImageList, Shard
from detector.errors import FAULTS, InputError
from detector.runner.frame_detector import detection_failed
from detector.structures.image import read_image
from proposals import Proposer

if TYPE_CHECKING:
    from pyarrow import Table

Row = dict[str, Any]

# Bytes of a file: more than photos of `MAX_PIXELS` pixels need.
_LARGEST = 1 << 30
# Bytes of files that are passed on together, each time as a copy.
_TOGETHER = 8 << 20


@dataclass(frozen=True)
class Reading:
    """Reads the files of shards.

    Attributes:
        images: the list that the shards are parts of.
        folder: where relative names begin.
        at_once: photos in a table.
    """

    images: ImageList
    folder: Path
    at_once: int = 8

    def __call__(self, shards: "Table") -> Iterator["Table"]:
        for shard in shards.to_pylist():
            yield from map(table, together(self.rows(Shard(**shard)), self.at_once))

    def rows(self, shard: Shard) -> Iterator[Row]:
        for index, name in enumerate(self.images.read(shard), shard.first):
            row: Row = {"shard": shard.number, "index": index, "name": None, "content": None, "boxes": None,
                        "line": None, "seconds": 0.0}  # fmt: skip
            if isinstance(name, InputError):
                row["line"] = failure(None, name)
            else:
                row["name"] = os.fsencode(name)
                try:
                    row["content"] = self._content(name)
                except InputError as error:
                    row["line"] = failure(name, error)
            yield row

    def _content(self, name: str) -> bytes:
        path = os.path.join(self.folder, name)
        content = b""
        try:
            size, is_file = os.stat(path).st_size, os.path.isfile(path)
            if is_file and size <= _LARGEST:
                with open(path, "rb") as file:
                    content = file.read(size + 1)
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            raise InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
        if not is_file:  # opening a pipe would wait for its writer
            raise InputError(f"{name}: not a regular file; give a photo")
        if size > _LARGEST:
            raise InputError(f"{name}: {size} bytes are too many for a photo; check the file")
        if len(content) > size:
            raise InputError(f"{name}: grew while it was read; wait until it is written")
        return content


@dataclass(frozen=True)
class Proposing:
    """Adds the proposals that need no network."""

    proposer: Proposer

    def __call__(self, rows: "Table") -> "Table":
        return table(self.rows(rows.to_pylist()))

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        return [row if row["line"] is not None else self._propose(row) for row in rows]

    def _propose(self, row: Row) -> Row:
        name = os.fsdecode(row["name"])
        try:
            image = read_image(row["content"], name)
            start = time.perf_counter()
            boxes = self.proposer(image.pixels).boxes
            return {**row, "boxes": boxes.tobytes(), "seconds": time.perf_counter() - start}
        except Exception as error:
            return {**row, "content": None, "line": failure(name, error)}


def failure(name: str | None, error: Exception) -> bytes:
    """The line of a photo that failed; `name` is None for a folder that could not be listed.

    Unexpected errors are kept with their type: one photo among millions must not end a run, and Ray would report only
    a lost block.
    """
    if not isinstance(error, FAULTS):
        error = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, InputError):
        error = detection_failed(name or "", error)
    return json.dumps({"image": name, "error": str(error)}).encode()


def is_failure(line: bytes) -> bool:
    """Whether a line comes from `failure`."""
    return b'"error": ' in line and "error" in json.loads(line)


def together(rows: Iterable[Row], most: int, size: int = _TOGETHER) -> Iterator[list[Row]]:
    """Groups of at most `most` rows and, unless it is a single row, at most `size` bytes of files."""
    group: list[Row] = []
    held = 0
    for row in rows:
        more = len(row["content"] or b"")
        if group and (len(group) == most or held + more > size):
            yield group
            group, held = [], 0
        group.append(row)
        held += more
    if group:
        yield group


def table(rows: Sequence[Row]) -> "Table":
    """A table of at least one row; all rows have the same keys."""
    import pyarrow

    types = {"shard": pyarrow.int64(), "index": pyarrow.int64(), "seconds": pyarrow.float64()}
    schema = pyarrow.schema([(key, types.get(key, pyarrow.large_binary())) for key in rows[0]])
    return pyarrow.Table.from_pylist(rows, schema)
