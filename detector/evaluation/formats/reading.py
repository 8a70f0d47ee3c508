"""Detections of any detector, from a file or folder of any of the formats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.formats.coco import read_coco
from detector.evaluation.formats.collector import Collector
from detector.evaluation.formats.places import Key
from detector.evaluation.formats.recognition import FORMATS, Format, recognise
from detector.evaluation.table import DetectionTable
from detector.evaluation.traces import ObjectTraces


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadDetections:
    """The detections of a file, and what became of those that are not in `table`.

    Attributes:
        table: the detections of the ground truth's images and classes.
        format: the file's format.
        outside: detections of images that are not in the ground truth, left out (for the project's own format
            entries of such images).
        unknown_classes: detections of classes that are not in the ground truth, left out, by the class.
        classes: how the file's classes were matched: what the file says -> the name in the ground truth.
        failed: image id and reason of images that the detector did not do (only the project's own format tells);
            those of other formats without detections have none.
        seconds: time an image by image id (only the project's own format).
        traces: what became of the objects (only the project's own format).
    """

    table: DetectionTable
    format: Format
    outside: int = 0
    unknown_classes: Mapping[Key, int] = field(default_factory=dict)
    classes: Mapping[Key, str] = field(default_factory=dict)
    failed: Mapping[str | int, str] = field(default_factory=dict)
    seconds: Mapping[str | int, float] | None = None
    traces: ObjectTraces | None = None

    def notes(self) -> list[str]:
        """What a reader of the result must know, a line each."""
        lines = []
        other = {key: name for key, name in self.classes.items() if key != name}
        if other:
            matched = ", ".join(f"{key} = {name}" for key, name in other.items())
            lines.append(f"classes of the detections, as the data set names them: {matched}")
        if self.outside:
            what = "entries" if self.format == "own" else "detections"
            lines.append(f"{self.outside} {what} of images that are not in the data set, left out")
        if self.unknown_classes:
            counts = ", ".join(f"{key} ({count})" for key, count in self.unknown_classes.items())
            lines.append(f"detections of classes that are not in the data set, left out: {counts}")
        return lines


def read_detections(
    path: str | Path, truth: GroundTruth, format: Format | None = None, *, ignore_unknown_classes: bool = False
) -> ReadDetections:
    """Read a detector's results for the images of a data set.

    Detections of images that are not in `truth` are left out and counted: results of a whole data set can be judged
    on a part of it.

    Args:
        path: a file or folder.
        truth: whose images and classes the detections are of.
        format: one of `FORMATS`; recognised from the content by default.
        ignore_unknown_classes: leave out and count detections of classes that `truth` does not have.

    Raises:
        FaultyData: records have faults: a missing or wrong field, a box without width or height, a score that is no
            finite number; each is named with its file, record and field.
        InputError: the path cannot be read or its format is not known, all images are unknown, or a class is and
            unknown ones are not ignored.
    """
    path = Path(path)
    chosen = recognise(path, truth) if format is None else format
    if chosen not in FORMATS:
        raise InputError(f"unknown format of detections '{chosen}', known are {', '.join(FORMATS)}")
    into = Collector(truth)
    _READERS[chosen](path, into)
    table = into.table(path, ignore_unknown_classes=ignore_unknown_classes)
    return ReadDetections(
        table=table,
        format=chosen,
        outside=into.outside,
        unknown_classes=dict(into.unknown_classes),
        classes={key: truth.class_names[index] for key, index in into.classes.items() if index >= 0},
    )


_READERS: dict[Format, Callable[[Path, Collector], None]] = {"coco": read_coco}
