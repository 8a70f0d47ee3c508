"""Detections of any detector, from and to a file or folder of any of the formats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Self

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.formats.coco import read_coco, write_coco
from detector.data.formats.collector import Collector
from detector.data.formats.csv import read_csv, write_csv
from detector.data.formats.files import begun
from detector.data.formats.ilsvrc import read_ilsvrc, write_ilsvrc
from detector.data.formats.keys import Key
from detector.data.formats.native import read_native, write_native
from detector.data.formats.recognition import Format, check_format, recognize
from detector.data.formats.voc import read_voc, write_voc
from detector.data.formats.yolo import read_yolo, write_yolo
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import Prediction, detection_table, failures, joined_traces, mean_seconds
from detector.data.traces import ObjectTraces


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadDetections:
    """The detections of a file, and what became of those that are not in `table`.

    Attributes:
        table: the detections of the ground truth's images and classes.
        format: the file's format.
        outside: detections of images that are not in the ground truth, left out (for the project's own format
            entries of such images).
        unknown_classes: detections of classes that are not in the ground truth, left out, by the class.
        empty_boxes: boxes without width or height among those of `table`.
        untraced: images of which a file of the project's own format traces other objects than they have.
        classes: how the file's classes were matched: what the file says -> the name in the ground truth.
        predictions: of all images in their order, with times and failures; only the project's own format tells. In
            other formats an image without detections is one in which nothing was found.
        traces: what became of the objects, if a file of the project's own format holds that of all of them.
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

    @classmethod
    def of_predictions(cls, predictions: Sequence[Prediction], truth: GroundTruth) -> Self:
        """The same of a detector that has run just now."""
        table, traces = detection_table(truth, predictions), joined_traces(predictions, truth)
        return cls(table=table, format="native", predictions=predictions, traces=traces)

    @property
    def failed(self) -> dict[str, str]:
        """Image id and reason of the images that the detector did not do."""
        return failures(self.predictions)

    @property
    def seconds_per_image(self) -> float | None:
        """Mean time of an image; None if none is known."""
        return mean_seconds(self.predictions)

    def notes(self) -> list[str]:
        """What a reader of the result must know, a line each."""
        lines = []
        other = {key: name for key, name in self.classes.items() if key != name}
        if other:
            matched = ", ".join(f"{key} = {name}" for key, name in other.items())
            lines.append(f"classes of the detections, as the data set names them: {matched}")
        if self.outside:
            what = "entries" if self.format == "native" else "detections"
            lines.append(f"{self.outside} {what} of images that are not in the data set, left out")
        if self.unknown_classes:
            counts = ", ".join(f"{key} ({count})" for key, count in self.unknown_classes.items())
            lines.append(f"detections of classes that are not in the data set, left out: {counts}")
        if self.untraced:
            lines.append(f"what became of the objects is told of others in {self.untraced} images, left out")
        if self.empty_boxes:
            lines.append(f"{self.empty_boxes} boxes have no width or height: they find nothing and are false positives")
        return lines


def read_detections(
    path: str | Path,
    truth: GroundTruth,
    format: Format | None = None,
    *,
    ignore_unknown_classes: bool = False,
    keep_empty_boxes: bool = False,
) -> ReadDetections:
    """Read a detector's results for the images of a data set.

    Detections of images that are not in `truth` are left out and counted: results of a whole data set can be judged
    on a part of it.

    A box without width or height is a fault, for many of them come from a mistaken conversion; but some detectors
    have a few. pycocotools and the development kits take them for false positives, as they overlap nothing, and so
    does `keep_empty_boxes`; leaving them out would change the number.

    Args:
        path: a file, a pipe or a folder.
        truth: whose images and classes the detections are of.
        format: one of `FORMATS`; recognized from the content by default.
        ignore_unknown_classes: leave out and count detections of classes that `truth` does not have.
        keep_empty_boxes: keep and count boxes without width or height. A negative size is a fault in any case, and
            the project's own format has no such boxes.

    Raises:
        FaultyDataError: records have faults: a missing or wrong field, a box without width or height, a score that is
            no finite number; each is named with its file, record and field.
        InputError: the path cannot be read or its format is not known, all images are unknown, or a class is and
            unknown ones are not ignored.
    """
    path = Path(path)
    given = None if format is None else check_format(format)
    with begun(path) as (head, content):
        chosen = given or recognize(path, head, truth)
        if chosen == "native":
            return _read_own(path, truth, content, ignore_unknown_classes)
        into = Collector(truth, keep_empty_boxes)
        _READERS[chosen](path, into, content)
    table = into.table(path, ignore_unknown_classes=ignore_unknown_classes)
    return ReadDetections(
        table=table,
        format=chosen,
        outside=into.outside,
        unknown_classes=dict(into.unknown_classes),
        empty_boxes=into.empty_boxes,
        classes=into.matched_classes(),
    )


def _read_own(path: Path, truth: GroundTruth, content: BinaryIO | None, ignore_unknown_classes: bool) -> ReadDetections:
    result = read_native(path, truth, content, ignore_unknown_classes=ignore_unknown_classes)
    return replace(
        ReadDetections.of_predictions(result.predictions, truth),
        outside=result.outside,
        unknown_classes=dict(result.unknown_classes),
        untraced=result.untraced,
        classes=result.classes,
    )


def write_detections(path: str | Path, table: DetectionTable, truth: GroundTruth, format: Format | str) -> None:
    """Write detections for others, or for `read_detections`: a folder for `voc` and `yolo`, a file for the rest.

    What a format rounds is told at its writer in this package. All digits are written; nothing is there before all
    of it is.

    Raises:
        InputError: the format is unknown or cannot hold the detections, they are not of `truth`, or the path cannot
            be written.
    """
    writer = _WRITERS[check_format(format)]
    check_same_data(truth, table)
    writer(Path(path), table, truth)


_READERS: dict[Format, Callable[[Path, Collector, BinaryIO | None], None]] = {
    "coco": read_coco,
    "voc": read_voc,
    "ilsvrc": read_ilsvrc,
    "yolo": read_yolo,
    "csv": read_csv,
}
_WRITERS: dict[Format, Callable[[Path, DetectionTable, GroundTruth], None]] = {
    "coco": write_coco,
    "native": write_native,
    "voc": write_voc,
    "ilsvrc": write_ilsvrc,
    "yolo": write_yolo,
    "csv": write_csv,
}
