"""The native format: the JSON list that `detect --json` and `evaluate --save-detections` write.

An entry an image: `image` (path, name or id), `width`, `height` (pixels), `seconds` (null or missing if unknown),
`detections`, each with `label`, `category_id` (ignored when read), `score` from 0 to 1 and `box` [x1, y1, x2, y2] in
pixels, 0-based, right and bottom exclusive, inside the image; and optionally `objects`, what the detector's stages made
of the image's annotated objects (`detector.data.traces`). The first entry may hold `classes`, the names of all classes
of the detector. Numbers are kept as float32, as in `detector.structures.detections.Detections`.
"""

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import AMBIGUOUS_IMAGE, Collector, ReadDetections
from detector.data.formats.keys import AMBIGUOUS, check_names, image_index
from detector.data.ground_truth import LARGEST, GroundTruth, rows_by_image
from detector.data.json_records import decode_records
from detector.data.predictions import Prediction, check_size, object_traces, write_predictions
from detector.errors import InputError
from detector.io.text import read_content, strip_bom
from detector.structures.detections import Detections


class _Head(msgspec.Struct):
    classes: tuple[str, ...] = ()


_Side = Annotated[int, Meta(gt=0, lt=2**31)]
_Score = Annotated[float, Meta(ge=0, le=1)]  # NaN is outside
_Finite = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
_Coordinate = Annotated[float, Meta(ge=0, lt=2**31)]


class _Detection(msgspec.Struct, gc=False):
    label: str
    score: _Score
    box: tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate]


class _Objects(msgspec.Struct):
    proposal_overlaps: list[_Finite]
    sources: list[str | None]
    region_scores: list[_Finite]


class _Entry(msgspec.Struct):
    image: str
    width: _Side
    height: _Side
    detections: list[_Detection]
    seconds: Annotated[float, Meta(ge=0, le=LARGEST)] | None = None
    objects: _Objects | None = None


def saved_classes(content: bytes) -> tuple[str, ...]:
    """The classes of the detector that wrote a file of this content; () if it does not say."""
    if b'"classes"' not in content[: 1 << 16]:
        return ()
    try:
        entries = msgspec.json.decode(strip_bom(content), type=list[_Head])
    except (ValueError, RecursionError):  # another format, or a fault that `read_native` reports
        return ()
    return entries[0].classes if entries else ()


def read_predictions(path: str | Path, truth: GroundTruth) -> list[Prediction]:
    """The predictions of a native file for the images of a data set, in its order; see `read_native`."""
    path = Path(path)
    return list(read_native(path, Collector(truth), read_content(path)).predictions)


def read_native(path: Path, into: Collector, content: bytes, *, ignore_unknown_classes: bool = False) -> ReadDetections:
    """Read a native file of that content.

    An image without an entry becomes a prediction with an `error`. Entries of images outside the data set are
    left out and counted.

    Raises:
        FaultyDataError: entries have faults, such as a size that is not the annotated one, or a repeated image.
        InputError: it is not a JSON list, holds entries but none of the data set's images, or a class is unknown
            and unknown ones are not ignored.
    """
    truth = into.truth
    object_counts = np.bincount(truth.images, minlength=len(truth.image_ids)).tolist()
    predictions: dict[int, Prediction] = {}
    untraced = 0
    batches = decode_records(path, content, _Entry, into.faults, "entry")
    for number, entry in chain.from_iterable(zip(*batch, strict=True) for batch in batches):
        report = partial(into.faults.add, path, f"entry {number} ({entry.image})")
        index = into.images[entry.image]
        if index == AMBIGUOUS:
            report(AMBIGUOUS_IMAGE)
            continue
        detections = _detections(entry, into, report)
        if index < 0:
            into.count_outside(entry.image)
            continue
        into.matched += 1
        if index in predictions:
            report("field image: an earlier entry has the same image")
        annotated = tuple(truth.image_sizes[index].tolist())
        if annotated[0] > 0:
            try:
                check_size((entry.width, entry.height), annotated)
            except InputError as error:
                report(f"fields width and height: {error}")
        traces = None
        if entry.objects is not None:
            try:
                traces = object_traces(**msgspec.structs.asdict(entry.objects))
            except InputError as error:
                report(f"field objects: {error}")
        if traces is not None and len(traces) != object_counts[index]:  # of other classes
            traces = None
            untraced += 1
        if detections is not None:
            predictions[index] = Prediction(truth.image_ids[index], detections, entry.seconds, traces=traces)
    more = into.finish(path, "entries", ignore_unknown_classes=ignore_unknown_classes)
    missing = f"{path} has no entry for it"
    all_predictions = [
        predictions.get(index) or Prediction(image_id, None, error=missing)
        for index, image_id in enumerate(truth.image_ids)
    ]
    return ReadDetections.of_predictions(all_predictions, truth, untraced=untraced, **more)


def _detections(entry: _Entry, into: Collector, report: Callable[[str], None]) -> Detections | None:
    size = (entry.width, entry.height)
    boxes = np.array([detection.box for detection in entry.detections], np.float32).reshape(-1, 4)
    scores = np.array([detection.score for detection in entry.detections], np.float32)
    has_area = np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    inside = np.asarray((boxes[:, 2:] <= size).all(axis=1))
    for row in np.flatnonzero(~(has_area & inside)).tolist():
        fault = f"is not inside the image of {size[0]}x{size[1]} pixels" if has_area[row] else "has no width or height"
        report(f"detection {row}: field box: {entry.detections[row].box} {fault}")
    if not (has_area & inside).all():
        return None
    labels = np.array([into.classes[detection.label] for detection in entry.detections], np.int64)
    into.unknown_classes.update(entry.detections[row].label for row in np.flatnonzero(labels < 0).tolist())
    order = np.argsort(-scores, kind="stable")
    order = order[labels[order] >= 0]
    truth = into.truth
    return Detections(boxes[order], scores[order], labels[order], truth.class_names, size, truth.class_ids)


def write_native(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a native file with an entry for every image, its detections best first.

    `read_native` returns boxes and scores as the nearest float32 numbers.

    Raises:
        InputError: the file cannot be written, the size of an image is unknown, a box reaches beyond its image or
            has no area in float32, or a score is not in 0..1.
    """
    check_names(truth, truth.files, image_index(truth))
    if not truth.image_sizes.all():
        index = int(np.argmin(truth.image_sizes.all(axis=1)))
        raise InputError(
            f"image {truth.image_ids[index]}: its width and height are unknown, and the native format needs them; "
            "choose another format"
        )
    predictions = []
    for index, rows in enumerate(rows_by_image(table.images, len(truth.image_ids), table.scores)):
        width, height = truth.image_sizes[index].tolist()
        boxes, scores, labels = table.boxes[rows], table.scores[rows], table.labels[rows]
        try:
            detections = Detections(boxes, scores, labels, truth.class_names, (width, height), truth.class_ids)
        except InputError as error:
            message = f"{path}: image {truth.image_ids[index]}: {error}; choose another format"
            raise InputError(message) from None
        predictions.append(Prediction(truth.image_ids[index], detections))
    write_predictions(path, predictions, truth)
