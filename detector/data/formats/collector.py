"""Detections of a file, checked and gathered batch by batch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.faults import Faults
from detector.data.formats.keys import AMBIGUOUS, UNKNOWN, Key, KeyIndex, class_name_index, image_index
from detector.data.ground_truth import GroundTruth, joined
from detector.data.predictions import Prediction, detection_table, failures, joined_traces, mean_seconds
from detector.data.traces import ObjectTraces
from detector.errors import InputError

Format = Literal["coco", "native", "voc", "ilsvrc", "yolo", "csv"]

_NAMED = 5  # keys in a message


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadDetections:
    """The detections of a file, and what was left out of `table`.

    Attributes:
        table: the detections of the ground truth's images and classes.
        format: the file's format.
        outside: number of detections (in the native format, of entries) of images outside the ground truth.
        unknown_classes: number of detections of each class outside the ground truth.
        empty_boxes: number of boxes in `table` without width or height.
        untraced: number of images whose `objects` in a native file are not those of the ground truth.
        classes: the ground truth's name of each class that the file names.
        predictions: of all images in their order, with times and failures; empty unless the format is native. In the
            other formats an image without detections is one in which nothing was found.
        traces: what the detector's stages made of the objects, if a native file has that for all of them.
        remarks: what the reader noticed about the file, a line each.
    """

    table: DetectionTable
    format: Format
    outside: int = 0
    unknown_classes: Mapping[Key, int] = field(default_factory=dict)
    empty_boxes: int = 0
    untraced: int = 0
    classes: Mapping[Key, str] = field(default_factory=dict)
    predictions: Sequence[Prediction] = ()
    traces: ObjectTraces | None = None
    remarks: Sequence[str] = ()

    @classmethod
    def of_predictions(cls, predictions: Sequence[Prediction], truth: GroundTruth) -> Self:
        """The detections of a detector that has just run."""
        table, traces = detection_table(truth, predictions), joined_traces(predictions, truth)
        return cls(table=table, format="native", predictions=predictions, traces=traces)

    @property
    def failed(self) -> dict[str, str]:
        """Image id and error of the images on which the detector failed."""
        return failures(self.predictions)

    @property
    def seconds_per_image(self) -> float | None:
        """Mean time of an image; None if unknown."""
        return mean_seconds(self.predictions)

    def notes(self) -> list[str]:
        """What to know about the result, a line each."""
        lines = [*self.remarks]
        if renamed := [f"{key} = {name}" for key, name in self.classes.items() if key != name]:
            lines.append(f"classes of the detections, as the data set names them: {', '.join(renamed)}")
        if self.outside:
            what = "entries" if self.format == "native" else "detections"
            lines.append(f"{self.outside} {what} of images that are not in the data set, left out")
        if self.unknown_classes:
            counts = ", ".join(f"{key} ({count})" for key, count in self.unknown_classes.items())
            lines.append(f"detections of classes that are not in the data set, left out: {counts}")
        if self.untraced:
            lines.append(f"traces of {self.untraced} images, whose objects are not the data set's, left out")
        if self.empty_boxes:
            lines.append(f"{self.empty_boxes} boxes have no width or height and count as false positives")
        return lines


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Some of a file's detections.

    Attributes:
        file: the file that holds them.
        images, classes: (n,) ids or names in the file.
        boxes: (n, 4) float64 xyxy pixels, 0-based, right and bottom exclusive.
        scores: (n,) float64.
        sides: (n, 2) float64 width and height if the file gives them.
        numbers: (n,) of their records in the file, from 1.
        record: word for a record of the file.
        box_field: name of the box in the file.
    """

    file: Path
    images: Sequence[Key]
    classes: Sequence[Key]
    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    numbers: Sequence[int]
    sides: npt.NDArray[np.float64] | None = None
    record: str = "record"
    box_field: str = "bbox"


class Collector:
    """Gathers the batches of one result as columns of numbers.

    Attributes:
        faults: of the records.
        images, classes: indices by the keys in the file; by name unless a reader replaces them.
        image_keys: the keys that the file could use for images, for a message.
        keep_empty_boxes: keep boxes without width or height; otherwise they are faults.
        matched, outside: number of records of images that are in the ground truth, and that are not.
        empty_boxes: number of boxes without width or height that were kept.
        unknown_classes: number of detections of each class that is not in the ground truth.
        remarks: as of `ReadDetections`.
    """

    def __init__(self, truth: GroundTruth, keep_empty_boxes: bool = False) -> None:
        self.truth = truth
        self.keep_empty_boxes = keep_empty_boxes
        self.image_keys: Sequence[Key] = truth.image_ids
        self.empty_boxes = 0
        self.faults = Faults()
        self.images = image_index(truth)
        self.classes = class_name_index(truth)
        self.matched = self.outside = 0
        self.unknown_classes: Counter[Key] = Counter()
        self.remarks: list[str] = []
        self._class_keys = ", ".join(truth.class_names)
        self._outside_key: Key = ""
        self._columns: list[tuple[np.ndarray, ...]] = []

    def find_classes_by(self, ids: Mapping[Key, int]) -> None:
        """Match classes by id, id -> index, instead of by name."""
        self.classes = KeyIndex(lambda key: ids.get(key, UNKNOWN))
        first = {index: key for key, index in reversed(list(ids.items()))}
        self._class_keys = ", ".join(
            f"{first[i]} {name}" for i, name in enumerate(self.truth.class_names) if i in first
        )

    def add(self, batch: Batch) -> None:
        """Check a batch, and keep the detections of images and classes of the ground truth."""
        count = len(batch.scores)
        images = np.fromiter(map(self.images.__getitem__, batch.images), np.int64, count)
        labels = np.fromiter(map(self.classes.__getitem__, batch.classes), np.int64, count)
        self._check(batch, images)
        outside, unknown = images < 0, labels < 0
        if outside.any():
            self.count_outside(batch.images[int(np.argmax(outside))], int(outside.sum()))
        self.unknown_classes.update(batch.classes[row] for row in np.flatnonzero(unknown).tolist())
        self.matched += int(np.count_nonzero(~outside))
        kept = ~outside & ~unknown
        self.empty_boxes += int(np.count_nonzero(kept & (batch.boxes[:, 2:] == batch.boxes[:, :2]).any(axis=1)))
        with np.errstate(invalid="ignore"):  # of boxes that are faults
            sides = batch.boxes[:, 2:] - batch.boxes[:, :2] if batch.sides is None else batch.sides
        self._columns.append((images[kept], labels[kept], batch.boxes[kept], batch.scores[kept], sides[kept]))

    def count_outside(self, key: Key, count: int = 1) -> None:
        """Count records of images that are not in the ground truth, of which `key` is one."""
        self.outside += count
        self._outside_key = key

    def _check(self, batch: Batch, images: npt.NDArray[np.int64]) -> None:
        with np.errstate(invalid="ignore"):
            finite = np.asarray(np.isfinite(batch.boxes).all(axis=1))
            sides = batch.boxes[:, 2:] - batch.boxes[:, :2]
        empty = np.asarray((sides == 0).any(axis=1) & (sides >= 0).all(axis=1))
        valid = np.asarray((sides > 0).all(axis=1)) | (empty & self.keep_empty_boxes)
        scored = np.isfinite(batch.scores)
        ambiguous = np.asarray(images == AMBIGUOUS)
        for row in np.flatnonzero(~(finite & valid & scored) | ambiguous).tolist():
            record = f"{batch.record} {batch.numbers[row]} (image {batch.images[row]})"
            corners = ", ".join(f"{value:g}" for value in batch.boxes[row].tolist())
            if ambiguous[row]:
                self.faults.add(batch.file, record, AMBIGUOUS_IMAGE)
            if not finite[row]:
                self.faults.add(batch.file, record, f"field {batch.box_field}: corners {corners} are not finite")
            elif not valid[row]:
                hint = "; keep empty boxes to count it as a false positive" if empty[row] else ""
                fault = f"field {batch.box_field}: no width or height between {corners}{hint}"
                self.faults.add(batch.file, record, fault)
            if not scored[row]:
                self.faults.add(batch.file, record, f"field score is {batch.scores[row]}, expected a finite number")

    def finish(self, path: Path, what: str, *, ignore_unknown_classes: bool) -> dict[Key, str]:
        """Checks that concern all batches.

        Args:
            path: the file or folder.
            what: the records, in a message.
            ignore_unknown_classes: leave out the detections of unknown classes; otherwise they are an error.

        Returns:
            The ground truth's name of each class that the file names, in the ground truth's order.

        Raises:
            FaultyDataError: there were faults.
            InputError: there are unknown classes and they are not ignored, or no record is of a known image.
        """
        self.faults.check()
        if self.unknown_classes and not ignore_unknown_classes:
            unknown = _some([key for key, _ in self.unknown_classes.most_common()])
            raise InputError(
                f"{path}: {self.unknown_classes.total()} detections are of classes that the data set does not have "
                f"({unknown}); it has {self._class_keys}; correct them, or ignore unknown classes"
            )
        if self.outside and not self.matched:
            raise InputError(
                f"{path}: none of the images of its {self.outside} {what} is in the data set, such as "
                f"{self._outside_key!r}; it has {_some(self.image_keys)}; give the results of this data set"
            )
        matches = sorted(
            ((index, key) for key, index in self.classes.items() if index >= 0), key=lambda match: match[0]
        )
        return {key: self.truth.class_names[index] for index, key in matches}

    def result(self, path: Path, format: Format, *, ignore_unknown_classes: bool) -> ReadDetections:
        """The detections of all batches; raises as `finish` does."""
        classes = self.finish(path, "detections", ignore_unknown_classes=ignore_unknown_classes)
        images, labels, boxes, scores, sides = zip(*self._columns, strict=True) if self._columns else [[]] * 5
        table = DetectionTable(
            image_ids=self.truth.image_ids,
            class_names=self.truth.class_names,
            images=joined(images, (0,)),
            labels=joined(labels, (0,)),
            boxes=joined(boxes, (0, 4)),
            scores=joined(scores, (0,)),
            sides=joined(sides, (0, 2)),
        )
        return ReadDetections(
            table=table,
            format=format,
            outside=self.outside,
            unknown_classes=dict(self.unknown_classes),
            empty_boxes=self.empty_boxes,
            classes=classes,
            remarks=self.remarks,
        )


AMBIGUOUS_IMAGE = "field image: several images have this name; give their ids"
"""The fault of a record whose image is `AMBIGUOUS`."""


def _some(values: Sequence[Key]) -> str:
    """The first few of `values`, for a message."""
    return ", ".join(repr(value) for value in values[:_NAMED]) + (", ..." if len(values) > _NAMED else "")
