"""What is done to the photos of a large run, stage by stage: rows come in, rows go out, whatever moves them.

A row is a dictionary: `shard` and `place` say where its result belongs, `name` is the photo's as bytes (names need not
be valid text), `content` its file, `boxes` what was proposed, (N, 4) float32 as bytes, and `line` its result in JSON,
with which it is done: the stages that follow pass it on.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from detector.batches import FAULTS, Ready, Scored, judge_each
from detector.bulk.listing import ImageList, Shard
from detector.config import Source
from detector.errors import InputError
from detector.images import read_image
from detector.judging import no_detection
from detector.multibox import without_network
from detector.parallel import share_cores
from detector.pipeline import Detector, Prepared, load_detector
from detector.results import photo_entry
from detector.selection import Selection
from proposals import Proposals, Proposer

Row = dict[str, Any]

_LARGEST = 1 << 30
"""Bytes of a file: more than photos of `MAX_PIXELS` pixels need."""


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
        for place, one in enumerate(self.images.read(shard)):
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
        try:
            size = os.stat(path).st_size
            if size > _LARGEST:
                raise InputError(f"{name}: {size} bytes are more than a photo has; check the file")
            if not os.path.isfile(path):  # to open a pipe would wait for its other end
                raise InputError(f"{name}: is no file; give a photo")
            with open(path, "rb") as file:
                return file.read()
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            raise InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


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
        except FAULTS as error:
            return {**row, "content": None, "line": failure(name, error)}


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Arguments of `load_detector`, and what is wanted of its detections."""

    model: str | None = None
    device: str = "auto"
    config: str | None = None
    source: Source | None = None
    engine: str = "torch"
    selection: Selection = field(default_factory=Selection)

    def load(self, device: str | None = None) -> Detector:
        """The detector, on another device perhaps. Raises `InputError` as `load_detector` does, and for a class that
        it does not know."""
        detector = load_detector(self.model, device or self.device, self.config, self.source, self.engine)
        self.selection.check(detector.class_names)
        most = max(detector.postprocess.max_detections, self.selection.max_detections or 0)
        detector.postprocess = replace(detector.postprocess, max_detections=most)
        return detector


class Network:
    """The last stage: makes detections of photos and their boxes. The detector is loaded once."""

    def __init__(self, settings: DetectorSettings) -> None:
        if settings.device == "cpu":
            share_cores()
        self._detector, self._selection = settings.load(), settings.selection
        self._ahead = without_network(self._detector.proposer)

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        """Rows that are all done: `shard`, `place` and `line`. They pass the network together."""
        lines: dict[int, bytes] = {index: row["line"] for index, row in enumerate(rows) if row["line"] is not None}
        ready: dict[int, Ready] = {}
        for index, row in enumerate(rows):
            if index not in lines:
                try:
                    ready[index] = self._prepared(row)
                except FAULTS as error:
                    lines[index] = failure(os.fsdecode(row["name"]), error)
        for index, scored in zip(ready, judge_each(self._detector, list(ready.values())), strict=True):
            name = os.fsdecode(rows[index]["name"])
            try:
                lines[index] = self._line(name, scored)
            except FAULTS as error:
                lines[index] = failure(name, error)
        return [{"shard": row["shard"], "place": row["place"], "line": lines[i]} for i, row in enumerate(rows)]

    def _prepared(self, row: Row) -> Ready:
        image = read_image(row["content"], os.fsdecode(row["name"]))
        begun = time.perf_counter()
        known = {}
        if self._ahead is not None and row["boxes"] is not None:
            known[id(self._ahead)] = _proposals(row["boxes"], (image.width, image.height))
        inputs = tuple(scorer.prepare(image) for scorer in self._detector.scorers)
        return Ready(Prepared(image, inputs, known), row["seconds"] + time.perf_counter() - begun)

    def _line(self, name: str, scored: Scored | Exception) -> bytes:
        if isinstance(scored, Exception):
            raise scored
        begun = time.perf_counter()
        found = self._detector.suppress(scored.proposals, scored.scores, self._selection.lowest_score)
        seconds = scored.seconds + time.perf_counter() - begun
        return json.dumps(photo_entry(scored.image, name, self._selection(found), seconds)).encode()


def failure(name: str | None, error: Exception) -> bytes:
    """The line of a photo that has no result. A name is missing where a folder could not be listed."""
    if not isinstance(error, InputError):
        error = no_detection(name or "", error)
    return json.dumps({"image": name, "error": str(error)}).encode()


def is_failure(line: bytes) -> bool:
    """Whether a line is one of `failure`."""
    return b'"error": ' in line and "error" in json.loads(line)


def _proposals(boxes: bytes, size: tuple[int, int]) -> Proposals:
    """As far as detections depend on them: the boxes in their order."""
    array = np.frombuffer(boxes, np.float32).reshape(-1, 4)
    scores = (1 / np.arange(1, len(array) + 1)).astype(np.float32)
    return Proposals(array, scores, np.zeros(len(array), np.int16), ("proposed ahead",), size)
