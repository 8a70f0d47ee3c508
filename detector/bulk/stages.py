"""What is done to the photos of a large run before the network, in processes that need no PyTorch.

Rows come in and rows go out, whatever moves them. A row is a dictionary: `shard` and `place` say where its result
belongs, `name` is the photo's as bytes (names need not be valid text), `content` its file, `boxes` what was proposed,
(N, 4) float32 as bytes, `seconds` what that took, and `line` its result in JSON, with which it is done: the stages that
follow pass it on. Ray keeps rows in tables of Arrow.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.bulk.listing import ImageList, Shard
from detector.errors import FAULTS, InputError
from detector.runner.frame_detector import no_detection
from detector.structures.image import read_image
from proposals import Proposer

if TYPE_CHECKING:
    from pyarrow import Table

Row = dict[str, Any]

_LARGEST = 1 << 30
"""Bytes of a file: more than photos of `MAX_PIXELS` pixels need."""

_TOGETHER = 8 << 20
"""Bytes of files that are handed on together, and copied by it."""


@dataclass(frozen=True)
class Reading:
    """Reads the files of shards.

    Attributes:
        images: the list they are parts of.
        folder: that relative names begin in.
    """

    images: ImageList
    folder: Path

    def __call__(self, shard: Shard) -> Iterator[Row]:
        for place, one in enumerate(self.images.read(shard), shard.first):
            row: Row = {
                "shard": shard.number,
                "place": place,
                "name": None,
                "content": None,
                "boxes": None,
                "line": None,
            }
            if isinstance(one, InputError):
                row["line"] = failure(None, one)
            else:
                row["name"] = os.fsencode(one)
                try:
                    row["content"] = self._content(one)
                except InputError as error:
                    row["line"] = failure(one, error)
            yield {**row, "seconds": 0.0}

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
        if not is_file:  # to open a pipe would wait for its other end
            raise InputError(f"{name}: is no file; give a photo")
        if size > _LARGEST:
            raise InputError(f"{name}: {size} bytes are more than a photo has; check the file")
        if len(content) > size:
            raise InputError(f"{name}: grew while it was read; wait until it is written")
        return content


@dataclass(frozen=True)
class Proposing:
    """Adds the boxes that need no network."""

    proposer: Proposer

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        return [row if row["line"] is not None else self._proposed(row) for row in rows]

    def _proposed(self, row: Row) -> Row:
        name = os.fsdecode(row["name"])
        try:
            image = read_image(row["content"], name)
            begun = time.perf_counter()
            boxes = self.proposer(image.pixels).boxes
            return {**row, "boxes": boxes.tobytes(), "seconds": time.perf_counter() - begun}
        except Exception as error:
            return {**row, "content": None, "line": failure(name, error)}


def failure(name: str | None, error: Exception) -> bytes:
    """The line of a photo that has no result. A name is missing where a folder could not be listed.

    Errors that nobody expects are kept with their type: one photo among millions must not end a run, and Ray would
    tell of a lost block only.
    """
    if not isinstance(error, FAULTS):
        error = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, InputError):
        error = no_detection(name or "", error)
    return json.dumps({"image": name, "error": str(error)}).encode()


def is_failure(line: bytes) -> bool:
    """Whether a line is one of `failure`."""
    return b'"error": ' in line and "error" in json.loads(line)


def together(rows: Iterable[Row], most: int, size: int = _TOGETHER) -> Iterator[list[Row]]:
    """Rows by at most `most`, whose files have at most `size` bytes or are one."""
    some: list[Row] = []
    held = 0
    for row in rows:
        more = len(row["content"] or b"")
        if some and (len(some) == most or held + more > size):
            yield some
            some, held = [], 0
        some.append(row)
        held += more
    if some:
        yield some


def reading(stage: Reading, at_once: int) -> Callable[["Table"], Iterator["Table"]]:
    """The stage on tables; the first has a row a shard."""

    def work(shards: "Table") -> Iterator["Table"]:
        for shard in shards.to_pylist():
            yield from map(table, together(stage(Shard(**shard)), at_once))

    return work


def proposing(stage: Proposing) -> Callable[["Table"], "Table"]:
    """The stage on tables."""

    def work(rows: "Table") -> "Table":
        return table(stage(rows.to_pylist()))

    return work


def table(rows: Sequence[Row]) -> "Table":
    """Rows with equal keys, at least one."""
    import pyarrow

    types = {"shard": pyarrow.int64(), "place": pyarrow.int64(), "seconds": pyarrow.float64()}
    schema = pyarrow.schema([(key, types.get(key, pyarrow.large_binary())) for key in rows[0]])
    return pyarrow.Table.from_pylist(rows, schema)
