"""Detections of a file, checked and gathered part by part into a table."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.faults import Faults
from detector.data.formats.keys import AMBIGUOUS, UNKNOWN, Key, Places, by_class_name, image_places
from detector.data.ground_truth import GroundTruth, joined
from detector.errors import InputError

_NAMED = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """Some of a file's detections, as they come.

    Attributes:
        file: where they are from.
        images, classes: (n,) ids or names as they stand in the file.
        boxes: (n, 4) float64 xyxy, 0-based, right and bottom exclusive.
        scores: (n,) float64.
        sides: (n, 2) float64 width and height if the file gives them.
        record: what the record of a row is called, such as "record 7" or "line 7".
        box_field: what the box is called in the file.
    """

    file: Path
    images: Sequence[Key]
    classes: Sequence[Key]
    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    record: Callable[[int], str]
    sides: npt.NDArray[np.float64] | None = None
    box_field: str = "bbox"


class Collector:
    """Takes the parts of one result. Only columns of numbers are kept of them.

    Attributes:
        faults: for what cannot be a number at all; `add` notes its own there.
        images, classes: how an image and a class of the file are found; by name unless a reader sets another way.
        known_images: what the file could say of the images, for a message.
        keep_empty_boxes: keep boxes without width or height; otherwise they are faults.
        outside: detections so far of images that are not in the ground truth.
        empty_boxes: how many boxes without width or height were kept.
        unknown_classes: the number of detections so far of each class that is not in the ground truth.
    """

    def __init__(self, truth: GroundTruth, keep_empty_boxes: bool = False) -> None:
        self.truth = truth
        self.keep_empty_boxes = keep_empty_boxes
        self.known_images: Sequence[Key] = truth.image_ids
        self.empty_boxes = 0
        self.faults = Faults()
        self.images = image_places(truth)
        self.classes = by_class_name(truth)
        self._known = ", ".join(truth.class_names)
        self.outside = 0
        self.unknown_classes: Counter[Key] = Counter()
        self._total = 0
        self._stranger: Key = ""
        self._columns: list[tuple[np.ndarray, ...]] = []

    def find_classes_by(self, ids: Mapping[Key, int]) -> None:
        """Let classes go by ids, id -> index, and by no likeness of names."""
        self.classes = Places(lambda key: ids.get(key, UNKNOWN))
        first = {index: key for key, index in reversed(list(ids.items()))}
        self._known = ", ".join(f"{first[i]} {name}" for i, name in enumerate(self.truth.class_names) if i in first)

    def add(self, part: Part) -> None:
        """Check a part and keep the detections of images and classes of the ground truth.

        Raises:
            FaultyDataError: the limit of faults is reached.
        """
        count = len(part.scores)
        images = np.fromiter(map(self.images.__getitem__, part.images), np.int64, count)
        labels = np.fromiter(map(self.classes.__getitem__, part.classes), np.int64, count)
        self._check(part, images)
        outside, unknown = images < 0, labels < 0
        self._total += count
        self.outside += int(outside.sum())
        if outside.any():
            self._stranger = part.images[int(np.argmax(outside))]
        self.unknown_classes.update(part.classes[row] for row in np.flatnonzero(unknown).tolist())
        kept = ~outside & ~unknown
        self.empty_boxes += int(np.count_nonzero(kept & (part.boxes[:, 2:] == part.boxes[:, :2]).any(axis=1)))
        with np.errstate(invalid="ignore"):  # of boxes that are faults
            sides = part.boxes[:, 2:] - part.boxes[:, :2] if part.sides is None else part.sides
        self._columns.append((images[kept], labels[kept], part.boxes[kept], part.scores[kept], sides[kept]))

    def matched_classes(self) -> dict[Key, str]:
        """The ground truth's names of the classes that were met, by what the file says, in the ground truth's order."""
        known = sorted(((index, key) for key, index in self.classes.items() if index >= 0), key=lambda one: one[0])
        return {key: self.truth.class_names[index] for index, key in known}

    def _check(self, part: Part, images: npt.NDArray[np.int64]) -> None:
        with np.errstate(invalid="ignore"):
            finite = np.asarray(np.isfinite(part.boxes).all(axis=1))
            sides = part.boxes[:, 2:] - part.boxes[:, :2]
        empty = np.asarray((sides == 0).any(axis=1) & (sides >= 0).all(axis=1))
        whole = np.asarray((sides > 0).all(axis=1)) | (empty & self.keep_empty_boxes)
        scored = np.isfinite(part.scores)
        ambiguous = np.asarray(images == AMBIGUOUS)
        for row in np.flatnonzero(~(finite & whole & scored) | ambiguous).tolist():
            where = f"{part.record(row)} (image {part.images[row]})"
            corners = ", ".join(f"{value:g}" for value in part.boxes[row].tolist())
            if ambiguous[row]:
                self.faults.add(part.file, where, "field image: the name is that of several images; give their ids")
            if not finite[row]:
                self.faults.add(part.file, where, f"field {part.box_field}: corners {corners} are not finite")
            elif not whole[row]:
                hint = "; keep empty boxes to count it as a false positive" if empty[row] else ""
                fault = f"field {part.box_field}: no width or height between {corners}{hint}"
                self.faults.add(part.file, where, fault)
            if not scored[row]:
                self.faults.add(part.file, where, f"field score is {part.scores[row]}, expected a finite number")

    def table(self, path: Path, *, ignore_unknown_classes: bool) -> DetectionTable:
        """What was kept, after all parts.

        Raises:
            FaultyDataError: there were faults.
            InputError: there are unknown classes and they are not ignored, or no detection is of a known image.
        """
        self.faults.check()
        if self.unknown_classes and not ignore_unknown_classes:
            raise classes_error(path, self.unknown_classes, self._known)
        if self._total and self.outside == self._total:
            raise images_error(path, f"{self._total} detections", self._stranger, self.known_images)
        images, labels, boxes, scores, sides = zip(*self._columns, strict=True) if self._columns else [[]] * 5
        return DetectionTable(
            image_ids=self.truth.image_ids,
            class_names=self.truth.class_names,
            images=joined(images, (0,)),
            labels=joined(labels, (0,)),
            boxes=joined(boxes, (0, 4)),
            scores=joined(scores, (0,)),
            sides=joined(sides, (0, 2)),
        )


def classes_error(path: Path, unknown: Counter[Key], known: str) -> InputError:
    """The error that there are unknown classes."""
    return InputError(
        f"{path}: {unknown.total()} detections are of classes that the data set does not have "
        f"({_some([key for key, _ in unknown.most_common()])}); it has {known}; correct them, or ignore unknown classes"
    )


def images_error(path: Path, what: str, stranger: Key, known: Sequence[Key]) -> InputError:
    """The error that all images are unknown, such as `stranger`."""
    return InputError(
        f"{path}: none of the images of its {what} is in the data set, such as {stranger!r}; it has "
        f"{_some(known)}; give the results of this data set"
    )


def _some(values: Sequence[Key]) -> str:
    """The first few of `values`, for a message."""
    return ", ".join(repr(value) for value in values[:_NAMED]) + (", ..." if len(values) > _NAMED else "")
