"""This project's own results: the JSON list that `detect --json` and `evaluate --save-detections` write.

An entry an image: `image` (path, name or id), `width`, `height` (pixels), `seconds` (may be null or missing),
`detections`, each with `label`, `category_id` (not read), `score` from 0 to 1 and `box` [x1, y1, x2, y2] in pixels,
0-based, right and bottom exclusive, inside the image; and perhaps `objects`, what became of the image's annotated
objects (`detector.data.traces`). The first entry may hold `classes`, the names of all that the detector knows;
others are not judged. Numbers are kept in 32 bits, as in `detector.structures.detections.Detections`.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.faults import Faults
from detector.data.formats.collector import classes_error, images_error
from detector.data.formats.json_stream import Records, checked_fields, read_records
from detector.data.formats.keys import AMBIGUOUS, Key, by_class_name, image_names, image_places
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import Prediction, check_size, object_traces, write_predictions
from detector.errors import InputError
from detector.structures.detections import Detections


class _Head(msgspec.Struct):
    classes: tuple[str, ...] = ()


class _Found(msgspec.Struct, gc=False):
    label: str
    score: float
    box: tuple[float, float, float, float]


class _Objects(msgspec.Struct):
    proposal_overlaps: list[float]
    sources: list[str | None]
    region_scores: list[float]


class _Entry(msgspec.Struct):
    image: str
    width: int
    height: int
    detections: list[_Found]
    seconds: float | None = None
    objects: _Objects | None = None


class _Outer(msgspec.Struct):
    """An entry whose detections are not looked at yet."""

    image: str
    width: int
    height: int
    detections: list[Any]
    seconds: float | None = None
    objects: _Objects | None = None


_EXPECTED = {
    "image": "text",
    "width": "a whole number",
    "height": "a whole number",
    "seconds": "a number",
    "detections": "a list",
    "objects": "lists proposal_overlaps, sources, region_scores",
    "label": "text",
    "score": "a number from 0 to 1",
    "box": "four numbers [x1, y1, x2, y2]",
}


@dataclass(frozen=True, eq=False)
class OwnResult:
    """A file's predictions for all images of a ground truth, in its order, and what was left out: `untraced` images
    have other objects than the file tells of."""

    predictions: list[Prediction]
    outside: int = 0
    unknown_classes: Counter[Key] = field(default_factory=Counter)
    untraced: int = 0
    classes: dict[Key, str] = field(default_factory=dict)


def saved_classes(path: Path) -> tuple[str, ...]:
    """The classes that a detector knows, of whose detections a file is; none if the file does not say."""
    if not path.is_file():  # what is read of a pipe is gone
        return ()
    try:
        records = next(read_records(path, msgspec.json.Decoder(list[_Head]), b'"image"'))
    except InputError:  # of another format, or what reading the detections says
        return ()
    return records.values[0].classes if records.values and not records.plain else ()


def read_predictions(path: str | Path, truth: GroundTruth) -> list[Prediction]:
    """The predictions of a file for the images of a data set, in its order; see `read_native`."""
    return read_native(Path(path), truth).predictions


def read_native(
    path: Path, truth: GroundTruth, content: BinaryIO | None = None, *, ignore_unknown_classes: bool = False
) -> OwnResult:
    """Read a file of the project's own format, from `content` if it is open already.

    An image without an entry becomes a prediction with an `error`. Entries of images outside the data set are
    left out and counted.

    Raises:
        FaultyDataError: entries have faults, among them a size other than the annotated one, an image that was there
            before.
        InputError: the file cannot be read, holds entries but none of the data set's images, or a class is unknown
            and they are not ignored.
    """
    reader = _Reader(path, truth)
    for records in read_records(path, msgspec.json.Decoder(list[_Entry]), b'"image"', content):
        reader.add(records)
    reader.faults.check()
    if reader.unknown and not ignore_unknown_classes:
        raise classes_error(path, reader.unknown, ", ".join(truth.class_names))
    if reader.outside and not reader.found:
        raise images_error(path, f"{reader.outside} entries", reader.stranger, truth.image_ids)
    missing = f"{path} has no entry for it"
    predictions = [
        reader.found.get(index) or Prediction(image_id, None, error=missing)
        for index, image_id in enumerate(truth.image_ids)
    ]
    names = sorted(((index, key) for key, index in reader.classes.items() if index >= 0), key=lambda one: one[0])
    classes = {key: truth.class_names[index] for index, key in names}
    return OwnResult(predictions, reader.outside, reader.unknown, reader.untraced, classes)


class _Reader:
    def __init__(self, path: Path, truth: GroundTruth) -> None:
        self.path, self.truth = path, truth
        self.faults = Faults()
        self.images, self.classes = image_places(truth), by_class_name(truth)
        self.object_counts = np.bincount(truth.images, minlength=len(truth.image_ids)).tolist()
        self.found: dict[int, Prediction] = {}
        self.unknown: Counter[Key] = Counter()
        self.outside = self.untraced = 0
        self.stranger = ""

    def add(self, records: Records) -> None:
        for number, value in enumerate(records.values, start=records.first):
            where = f"entry {number}"
            if records.plain:
                if isinstance(value, dict) and isinstance(value.get("image"), str):
                    where += f" ({value['image']})"
                entry = _checked_entry(value, self._noting(where))
            else:
                entry = value
                where += f" ({entry.image})"
            if entry is not None:
                self._add_entry(entry, self._noting(where))

    def _noting(self, where: str) -> Callable[[str], None]:
        return lambda fault: self.faults.add(self.path, where, fault)

    def _add_entry(self, entry: _Entry, note: Callable[[str], None]) -> None:
        index = self.images[entry.image]
        if index == AMBIGUOUS:
            return note("field image: the name is that of several images; give their ids")
        detections = self._detections(entry, note)
        if index < 0:
            self.outside += 1
            self.stranger = entry.image
            return None
        if index in self.found:
            note("field image: an earlier entry has the same image")
        annotated = tuple(self.truth.image_sizes[index].tolist())
        if annotated[0] > 0:
            try:
                check_size((entry.width, entry.height), annotated)
            except InputError as error:
                note(f"fields width and height: {error}")
        if entry.seconds is not None and not 0 <= entry.seconds < math.inf:
            note(f"field seconds is {entry.seconds}, expected 0 or more")
        traces = None
        if entry.objects is not None:
            counts = {len(getattr(entry.objects, name)) for name in entry.objects.__struct_fields__}
            if not all(map(math.isfinite, entry.objects.proposal_overlaps + entry.objects.region_scores)):
                note("field objects holds a number that is not finite")
            elif len(counts) > 1:
                note(f"field objects is of {', '.join(map(str, sorted(counts)))} objects, expected lists of one length")
            elif counts == {self.object_counts[index]}:
                traces = object_traces(**msgspec.structs.asdict(entry.objects))
            else:  # judged by other classes
                self.untraced += 1
        if detections is not None:
            image_id = self.truth.image_ids[index]
            self.found[index] = Prediction(image_id, detections, entry.seconds, traces=traces)
        return None

    def _detections(self, entry: _Entry, note: Callable[[str], None]) -> Detections | None:
        size = (entry.width, entry.height)
        if not 1 <= min(size) <= max(size) < 2**31:
            note(f"fields width and height are {size[0]} and {size[1]}, expected 1 or more pixels"[:120])
            return None
        count = len(entry.detections)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and a fault
            boxes = np.array([one.box for one in entry.detections], np.float32).reshape(count, 4)
            scores = np.array([one.score for one in entry.detections], np.float32)
        faults = 0
        with np.errstate(invalid="ignore"):
            for name, good, fault in (
                ("box", np.isfinite(boxes).all(axis=1), "is not finite"),
                ("box", ~(boxes[:, 2:] <= boxes[:, :2]).any(axis=1), "has no width or height"),
                ("box", ~((boxes[:, :2] < 0) | (boxes[:, 2:] > size)).any(axis=1),
                 f"is not inside the image of {size[0]}x{size[1]} pixels"),
                ("score", (scores >= 0) & (scores <= 1), "is not in 0..1"),
            ):  # fmt: skip
                for row in np.flatnonzero(~good).tolist():
                    note(f"detection {row}: field {name}: {getattr(entry.detections[row], name)} {fault}")
                    faults += 1
        if faults:
            return None
        labels = np.array([self.classes[one.label] for one in entry.detections], np.int64)
        self.unknown.update(entry.detections[row].label for row in np.flatnonzero(labels < 0).tolist())
        order = np.argsort(-scores, kind="stable")
        order = order[labels[order] >= 0]
        truth = self.truth
        return Detections(boxes[order], scores[order], labels[order], truth.class_names, size, truth.class_ids)


def _checked_entry(value: object, note: Callable[[str], None]) -> _Entry | None:
    """The entry that a JSON value is; None after its faults were noted."""
    outer = checked_fields(value, _Outer, _EXPECTED, note)
    if outer is None:
        return None
    found = []
    for number, one in enumerate(outer["detections"]):
        fields = checked_fields(one, _Found, _EXPECTED, note, f"detection {number}: ")
        if fields is not None:
            found.append(_Found(**fields))
    return _Entry(**{**outer, "detections": found}) if len(found) == len(outer["detections"]) else None


def write_native(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a file of the project's own format with an entry for every image.

    Boxes and scores are read again as the nearest numbers of 32 bits, best first in an image.

    Raises:
        InputError: the file cannot be written, the size of an image is not known, a box reaches beyond its image or
            has no area in 32 bits, or a score is not in 0..1.
    """
    image_names(truth, truth.files)
    if not truth.image_sizes.all():
        index = int(np.argmin(truth.image_sizes.all(axis=1)))
        raise InputError(
            f"image {truth.image_ids[index]}: its width and height are not known, which the native format holds; choose "
            "another format"
        )
    order = np.lexsort((-table.scores, table.images))
    ends = np.cumsum(np.bincount(table.images, minlength=len(truth.image_ids)))
    predictions = []
    for image_id, size, rows in zip(
        truth.image_ids, truth.image_sizes.tolist(), np.split(order, ends[:-1]), strict=True
    ):
        try:
            detections = Detections(
                table.boxes[rows],
                table.scores[rows],
                table.labels[rows],
                truth.class_names,
                (size[0], size[1]),
                truth.class_ids,
            )
        except InputError as error:
            raise InputError(f"{path}: image {image_id}: {error}; choose another format") from None
        predictions.append(Prediction(image_id, detections))
    write_predictions(path, predictions, truth)
