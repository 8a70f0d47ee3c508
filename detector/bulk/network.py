"""The last stage of a large run: the network."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from detector.bulk.stages import Row, failure, table
from detector.config import Source
from detector.inference.assembly import load_detector
from detector.inference.batching import Scored, score_each
from detector.inference.detector import Detector, Prepared
from detector.inference.parallel import share_cores
from detector.inference.proposers import without_network
from detector.ops.devices import resolve_device
from detector.runner.results import photo_entry
from detector.structures.image import read_image
from detector.structures.selection import Selection
from proposals import Proposals

if TYPE_CHECKING:
    from pyarrow import Table


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Arguments of `load_detector`, and what is wanted of its detections.

    Attributes:
        precision: on CPUs, where every process would choose one by a timing; on GPUs it follows from their kind.
    """

    model: str | None = None
    device: str = "auto"
    config: str | None = None
    source: Source | None = None
    engine: str = "torch"
    selection: Selection = field(default_factory=Selection)
    precision: str | None = None

    def load(self, device: str | None = None) -> Detector:
        """The detector, on another device perhaps. Raises `InputError` as `load_detector` does, and for a class that
        it does not know."""
        device = device or self.device
        precision = self.precision if resolve_device(device).type == "cpu" else None
        detector = load_detector(self.model, device, self.config, self.source, self.engine, precision)
        self.selection.check(detector.class_names)
        most = max(detector.postprocess.max_detections, self.selection.max_detections or 0)
        return detector.replace(postprocess=replace(detector.postprocess, max_detections=most))


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
        ready: dict[int, Prepared] = {}
        for index, row in enumerate(rows):
            if index not in lines:
                try:
                    ready[index] = self._prepared(row)
                except Exception as error:
                    lines[index] = failure(os.fsdecode(row["name"]), error)
        for index, scored in zip(ready, self._judged(list(ready.values())), strict=True):
            name = os.fsdecode(rows[index]["name"])
            try:
                lines[index] = self._line(name, scored)
            except Exception as error:
                lines[index] = failure(name, error)
        return [{"shard": row["shard"], "place": row["place"], "line": lines[i]} for i, row in enumerate(rows)]

    def _prepared(self, row: Row) -> Prepared:
        image = read_image(row["content"], os.fsdecode(row["name"]))
        begun = time.perf_counter()
        known = {}
        if self._ahead is not None and row["boxes"] is not None:
            known[id(self._ahead)] = _proposals(row["boxes"], (image.width, image.height))
        inputs = tuple(scorer.prepare(image) for scorer in self._detector.scorers)
        return Prepared(image, inputs, known, row["seconds"] + time.perf_counter() - begun)

    def _judged(self, ready: Sequence[Prepared]) -> Sequence[Scored | Exception]:
        try:
            judged = score_each(self._detector, ready)
        except Exception as error:  # that nobody expects
            if len(ready) > 1:
                return [one for alone in ready for one in self._judged([alone])]
            return [error]
        if self._detector.device.type == "cuda" and any(isinstance(one, Exception) for one in judged):
            _end_if_lost()
        return judged

    def _line(self, name: str, scored: Scored | Exception) -> bytes:
        if isinstance(scored, Exception):
            raise scored
        begun = time.perf_counter()
        found = self._detector.suppress(scored.proposals, scored.scores, self._selection.lowest_score)
        seconds = scored.seconds + time.perf_counter() - begun
        return json.dumps(photo_entry(scored.image, name, self._selection(found), seconds)).encode()


class NetworkActor:
    """The stage on tables."""

    def __init__(self, settings: DetectorSettings) -> None:
        self._stage = Network(settings)

    def __call__(self, rows: "Table") -> "Table":
        return table(self._stage(rows.to_pylist()))


def _end_if_lost() -> None:
    """Ends the process if its GPU does no more work, as after an illegal access, so that Ray starts another: in this
    one all photos that follow would fail."""
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        os._exit(1)


def _proposals(boxes: bytes, size: tuple[int, int]) -> Proposals:
    """As far as detections depend on them: the boxes in their order."""
    array = np.frombuffer(boxes, np.float32).reshape(-1, 4).copy()  # torch wants arrays that it may write to
    scores = (1 / np.arange(1, len(array) + 1)).astype(np.float32)
    return Proposals(array, scores, np.zeros(len(array), np.int16), ("proposed ahead",), size)
