"""Detections of a file, checked and gathered batch by batch."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.faults import Faults
from detector.data.formats.keys import AMBIGUOUS, UNKNOWN, Key, KeyIndex, class_name_index, image_index
from detector.data.ground_truth import GroundTruth, joined
from detector.data.json_records import BATCH
from detector.data.predictions import Prediction, detection_table, failures, joined_traces, mean_seconds
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.io.text import open_text

Format = Literal["coco", "native", "voc", "ilsvrc", "yolo", "csv"]

Array = npt.NDArray[np.float64]
Row = tuple[Any, ...]
"""Line, image, class and k fields that are numbers. Flat, for the garbage collector does not track tuples of texts."""

AMBIGUOUS_IMAGE = "field image: several images have this name; give their ids"
"""The fault of a record whose image is `AMBIGUOUS`."""

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
    def of_predictions(cls, predictions: Sequence[Prediction], truth: GroundTruth, **more: Any) -> Self:
        """The detections of a detector that has just run, or of a native file with the attributes `more`."""
        table, traces = detection_table(truth, predictions), joined_traces(predictions, truth)
        return cls(table=table, format="native", predictions=predictions, traces=traces, **more)

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


class Collector:
    """Gathers the detections of one result as columns of numbers.

    Attributes:
        faults: of the records.
        images, classes: indices by the keys in the file; by name unless a reader replaces them.
        image_keys: the keys that the file could use for images, for a message.
        keep_empty_boxes: keep boxes without width or height; otherwise they are faults.
        matched, outside: number of records of images that are in the ground truth, and that are not.
        unknown_classes: number of detections of each class that is not in the ground truth.
        remarks: as of `ReadDetections`.
    """

    def __init__(self, truth: GroundTruth, keep_empty_boxes: bool = False) -> None:
        self.truth = truth
        self.keep_empty_boxes = keep_empty_boxes
        self.image_keys: Sequence[Key] = truth.image_ids
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
        self._class_keys = ", ".join(f"{first[i]} {n}" for i, n in enumerate(self.truth.class_names) if i in first)

    def add(
        self,
        file: Path,
        images: Sequence[Key],
        classes: Sequence[Key],
        boxes: Array,
        scores: Array,
        numbers: Sequence[int],
        sides: Array | None = None,
        record: str = "record",
        box_field: str = "bbox",
    ) -> None:
        """Check some of a file's detections, and keep those of images and classes of the ground truth.

        Args:
            file: the file that holds them.
            images, classes: (n,) ids or names in the file.
            boxes: (n, 4) xyxy pixels, 0-based, right and bottom exclusive.
            scores: (n,).
            numbers: (n,) of their records in the file, from 1.
            sides: (n, 2) width and height if the file gives them.
            record: word for a record of the file.
            box_field: name of the box in the file.
        """
        count = len(scores)
        indices = np.fromiter(map(self.images.__getitem__, images), np.int64, count)
        labels = np.fromiter(map(self.classes.__getitem__, classes), np.int64, count)
        with np.errstate(invalid="ignore"):  # of boxes that are faults
            differences = boxes[:, 2:] - boxes[:, :2]
        finite, scored = np.asarray(np.isfinite(boxes).all(axis=1)), np.isfinite(scores)
        empty = np.asarray((differences == 0).any(axis=1) & (differences >= 0).all(axis=1))
        valid = np.asarray((differences > 0).all(axis=1)) | (empty & self.keep_empty_boxes)
        for row in np.flatnonzero(~(finite & valid & scored) | (indices == AMBIGUOUS)).tolist():
            corners = ", ".join(f"{value:g}" for value in boxes[row].tolist())
            hint = "; keep empty boxes to count it as a false positive" if empty[row] else ""
            for is_faulty, fault in (
                (indices[row] == AMBIGUOUS, AMBIGUOUS_IMAGE),
                (not finite[row], f"field {box_field}: corners {corners} are not finite"),
                (finite[row] and not valid[row], f"field {box_field}: no width or height between {corners}{hint}"),
                (not scored[row], f"field score is {scores[row]}, expected a finite number"),
            ):
                if is_faulty:
                    self.faults.add(file, f"{record} {numbers[row]} (image {images[row]})", fault)
        outside, unknown = indices < 0, labels < 0
        if outside.any():
            self.count_outside(images[int(np.argmax(outside))], int(outside.sum()))
        self.unknown_classes.update(classes[row] for row in np.flatnonzero(unknown).tolist())
        self.matched += int(np.count_nonzero(~outside))
        columns = (indices, labels, boxes, scores, differences if sides is None else sides)
        self._columns.append(tuple(values[~outside & ~unknown] for values in columns))

    def add_rows(
        self,
        file: Path,
        rows: Iterable[Row],
        fields: Sequence[str],
        convert: Callable[[Array], tuple[Array, Array]],
        refuse: Callable[[Array], npt.NDArray[np.bool_]] | None = None,
        refusal: str = "",
    ) -> None:
        """Add the rows of a text file; fields that are not numbers are faults.

        Args:
            file: named in faults.
            rows: of the file.
            fields: (k,) their names.
            convert: computes boxes (n, 4) xyxy and scores (n,) from the numbers (n, k).
            refuse: returns the mask (n,) of the faulty rows among numbers (n, k).
            refusal: the fault of those.
        """
        iterator = iter(rows)
        while batch := list(islice(iterator, BATCH)):
            try:
                columns = [_numbers(texts) for texts in list(zip(*batch, strict=True))[3:]]
            except ValueError:
                for row in batch:
                    for name, text in zip(fields, row[3:], strict=True):
                        if not _is_number(text):
                            fault = f"field {name} is {text[:40]!r}, expected a number"
                            self.faults.add(file, f"line {row[0]}", fault)
                batch = [row for row in batch if all(map(_is_number, row[3:]))]
                columns = [[float(row[3 + index]) for row in batch] for index in range(len(fields))]
            numbers = np.array(columns, np.float64).T
            lines, images, classes = list(zip(*batch, strict=True))[:3] if batch else ((),) * 3
            if refuse is not None:
                for index in np.flatnonzero(refuse(numbers)).tolist():
                    self.faults.add(file, f"line {lines[index]}", refusal)
            self.add(file, images, classes, *convert(numbers), lines, record="line", box_field="box")

    def parse_lines(self, file: Path, content: bytes, parse: Callable[[str], Row]) -> Iterator[Row]:
        """The row of each line that is not blank: its number and what `parse` returns, whose InputError is a fault.

        Raises:
            InputError: the file is not text.
        """
        with open_text(file, content=content) as lines:
            for number, line in enumerate(lines, start=1):
                if text := line.strip():
                    try:
                        yield number, *parse(text)
                    except InputError as error:
                        self.faults.add(file, f"line {number}", str(error))

    def count_outside(self, key: Key, count: int = 1) -> None:
        """Count records of images that are not in the ground truth, of which `key` is one."""
        self.outside += count
        self._outside_key = key

    def finish(self, path: Path, what: str, *, ignore_unknown_classes: bool) -> dict[str, Any]:
        """Checks that concern all records.

        Args:
            path: the file or folder.
            what: the records, in a message.
            ignore_unknown_classes: leave out the detections of unknown classes; otherwise they are an error.

        Returns:
            Attributes of `ReadDetections`: `outside`, `unknown_classes`, `classes` and `remarks`.

        Raises:
            FaultyDataError: there were faults.
            InputError: there are unknown classes and they are not ignored, or no record is of a known image.
        """
        self.faults.check()
        if self.unknown_classes and not ignore_unknown_classes:
            unknown = _some([key for key, _ in self.unknown_classes.most_common()])
            raise InputError(
                f"{path}: {self.unknown_classes.total()} detections are of classes that the data set does not have "
                f"({unknown}); it has {self._class_keys}; correct them, or leave them out: "
                "--ignore-unknown-classes, or ignore_unknown_classes=True"
            )
        if self.outside and not self.matched:
            raise InputError(
                f"{path}: none of the images of its {self.outside} {what} is in the data set, such as "
                f"{self._outside_key!r}; it has {_some(self.image_keys)}; give the results of this data set"
            )
        matches = sorted(
            ((index, key) for key, index in self.classes.items() if index >= 0), key=lambda match: match[0]
        )
        return {
            "outside": self.outside,
            "unknown_classes": dict(self.unknown_classes),
            "classes": {key: self.truth.class_names[index] for index, key in matches},
            "remarks": self.remarks,
        }

    def result(self, path: Path, format: Format, *, ignore_unknown_classes: bool) -> ReadDetections:
        """The detections of all records; raises as `finish` does."""
        more = self.finish(path, "detections", ignore_unknown_classes=ignore_unknown_classes)
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
        empty = int((table.boxes[:, 2:] == table.boxes[:, :2]).any(axis=1).sum())
        return ReadDetections(table=table, format=format, empty_boxes=empty, **more)


def _numbers(texts: Sequence[str]) -> list[float]:
    if "_" in "".join(texts):  # Python reads 1_000 as a number
        raise ValueError
    return list(map(float, texts))


def _is_number(text: str) -> bool:
    try:
        return bool(_numbers([text]))
    except ValueError:
        return False


def _some(values: Sequence[Key]) -> str:
    """The first few of `values`, for a message."""
    return ", ".join(repr(value) for value in values[:_NAMED]) + (", ..." if len(values) > _NAMED else "")
