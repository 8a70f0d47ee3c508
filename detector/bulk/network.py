"""The stage of a large run that runs the network."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from detector.bulk.stages import Row, failure, table
from detector.config import Source
from detector.inference.assembly import load_pipeline
from detector.inference.batching import Scored, score_each
from detector.inference.pipeline import DetectionPipeline, Prepared
from detector.inference.proposers import without_network
from detector.ops.devices import resolve_device, share_cores
from detector.runner.results import photo_entry
from detector.structures.image import read_image
from detector.structures.selection import Selection
from proposals import Proposals

if TYPE_CHECKING:
    from pyarrow import Table


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Arguments of `load_pipeline`, and the selection of detections.

    Attributes:
        precision: on CPUs, where each process would otherwise choose one by a timing; a GPU's kind determines its own.
    """

    model: str | Path | None = None
    device: str = "auto"
    config: str | Path | None = None
    source: Source | None = None
    engine: str = "torch"
    selection: Selection = field(default_factory=Selection)
    precision: str | None = None

    def load(self, device: str | None = None) -> DetectionPipeline:
        """The detector, by default on `self.device`.

        Raises:
            InputError: as `load_pipeline`, and for a class that the detector does not know.
        """
        device = device or self.device
        precision = self.precision if resolve_device(device).type == "cpu" else None
        detector = load_pipeline(self.model, device, self.config, self.source, self.engine, precision)
        self.selection.check(detector.class_names)
        limit = max(detector.postprocess.max_detections, self.selection.max_detections or 0)
        return detector.replace(postprocess=replace(detector.postprocess, max_detections=limit))


class Network:
    """The last stage: detects in photos, given their proposals. The detector is loaded once."""

    def __init__(self, settings: DetectorSettings) -> None:
        if settings.device == "cpu":
            share_cores()
        self._detector, self._selection = settings.load(), settings.selection
        self._ahead = without_network(self._detector.proposer)

    def __call__(self, rows: "Table") -> "Table":
        return table(self.rows(rows.to_pylist()))

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """Finished rows with `shard`, `index` and `line`. The photos pass the network as one batch."""
        lines: dict[int, bytes] = {i: row["line"] for i, row in enumerate(rows) if row["line"] is not None}
        ready: dict[int, Prepared] = {}
        for i, row in enumerate(rows):
            if i not in lines:
                try:
                    ready[i] = self._prepare(row)
                except Exception as error:
                    lines[i] = failure(os.fsdecode(row["name"]), error)
        for i, scored in zip(ready, self._score(list(ready.values())), strict=True):
            name = os.fsdecode(rows[i]["name"])
            try:
                lines[i] = self._line(name, scored)
            except Exception as error:
                lines[i] = failure(name, error)
        return [{"shard": row["shard"], "index": row["index"], "line": lines[i]} for i, row in enumerate(rows)]

    def _prepare(self, row: Row) -> Prepared:
        image = read_image(row["content"], os.fsdecode(row["name"]))
        start = time.perf_counter()
        cached = {}
        if self._ahead is not None and row["boxes"] is not None:
            cached[id(self._ahead)] = _proposals(row["boxes"], (image.width, image.height))
        inputs = tuple(scorer.prepare(image) for scorer in self._detector.scorers)
        return Prepared(image, inputs, cached, row["seconds"] + time.perf_counter() - start)

    def _score(self, ready: Sequence[Prepared]) -> Sequence[Scored | Exception]:
        try:
            results = score_each(self._detector, ready)
        except Exception as error:  # an unexpected one
            if len(ready) > 1:
                return [result for photo in ready for result in self._score([photo])]
            return [error]
        if self._detector.device.type == "cuda" and any(isinstance(result, Exception) for result in results):
            _exit_if_gpu_lost()
        return results

    def _line(self, name: str, scored: Scored | Exception) -> bytes:
        if isinstance(scored, Exception):
            raise scored
        start = time.perf_counter()
        detections = self._detector.suppress(scored.proposals, scored.scores, self._selection.lowest_score)
        seconds = scored.seconds + time.perf_counter() - start
        return json.dumps(photo_entry(name, self._selection(detections), seconds)).encode()


def _exit_if_gpu_lost() -> None:
    """Ends the process if its GPU no longer works, as after an illegal access: all later photos would fail in it, and
    Ray starts another."""
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        os._exit(1)


def _proposals(boxes: bytes, size: tuple[int, int]) -> Proposals:
    """Proposals as far as detections depend on them: the boxes in their order."""
    array = np.frombuffer(boxes, np.float32).reshape(-1, 4).copy()  # torch needs writable arrays
    scores = (1 / np.arange(1, len(array) + 1)).astype(np.float32)
    return Proposals(array, scores, np.zeros(len(array), np.int16), ("proposed ahead",), size)
