"""The detections in all images of a data set, in columns for the evaluators."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from detector.data.ground_truth import GroundTruth, check_rows, column, joined, sides_column
from detector.errors import InputError
from detector.structures.class_names import same_classes
from detector.structures.detections import Detections
from proposals.types import reduce_by_fields


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionTable:
    """Detections, an array a column, in any order. Arrays are converted to the types below and made read-only.

    Attributes:
        image_ids, class_names: those of the ground truth that they are compared with.
        images: (D,) int64, the image of a detection as an index into `image_ids`.
        labels: (D,) int64, its class as an index into `class_names`.
        boxes: (D, 4) float64 x1, y1, x2, y2 in pixels of the upright image, 0-based, right and bottom exclusive; a
            box may reach beyond the image. A box without width or height matches no object.
        scores: (D,) float64, any finite numbers, higher is more certain.
        sides: (D, 2) float64 width and height of the boxes; see `GroundTruth.sides`.

    Raises:
        InputError: a column has another length, an index is out of range, a box is not finite or of negative size, a
            score is not finite, or `sides` are not those of the boxes; the message names the first faulty detection.
    """

    image_ids: tuple[str | int, ...]
    class_names: tuple[str, ...]
    images: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    sides: npt.NDArray[np.float64] = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        count = len(self.scores)
        for name, dtype, shape in (
            ("images", np.int64, (count,)),
            ("labels", np.int64, (count,)),
            ("boxes", np.float64, (count, 4)),
            ("scores", np.float64, (count,)),
        ):
            object.__setattr__(self, name, column(name, getattr(self, name), dtype, shape))
        check_rows(
            "detection", self.images, len(self.image_ids), self.labels, len(self.class_names), self.boxes, empty=True
        )
        if not (good := np.isfinite(self.scores)).all():
            row = int(np.argmin(good))
            raise InputError(f"detection {row}: score {self.scores[row]} is not finite")
        object.__setattr__(self, "sides", sides_column("detection", self.sides, self.boxes))

    @classmethod
    def from_detections(cls, truth: GroundTruth, detections: Sequence[Detections]) -> Self:
        """The detections of each image of `truth`, in its order.

        Classes are matched by name (`detector.structures.class_names.same_classes`); detections of other classes are
        left out.

        Raises:
            InputError: the number of images is another one.
        """
        if len(detections) != len(truth.image_ids):
            raise InputError(f"ground truth of {len(truth.image_ids)} images, but detections of {len(detections)}")
        index = {name: label for label, name in enumerate(truth.class_names)}
        all_names = tuple(dict.fromkeys(name for names in {d.class_names for d in detections} for name in names))
        same = same_classes(all_names, truth.class_names)
        labels = joined(
            [
                np.array([index[same[n]] if n in same else -1 for n in d.class_names], np.int64)[d.labels]
                for d in detections
            ],
            (0,),
        )
        matched = labels >= 0
        return cls(
            image_ids=truth.image_ids,
            class_names=truth.class_names,
            images=np.repeat(np.arange(len(detections)), [len(d) for d in detections])[matched],
            labels=labels[matched],
            boxes=joined([d.boxes for d in detections], (0, 4))[matched],
            scores=joined([d.scores for d in detections], (0,))[matched],
        )

    __reduce__ = reduce_by_fields

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | slice) -> Self:
        """The table of some of the rows."""
        columns = ("images", "labels", "boxes", "scores", "sides")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})


def check_same_data(truth: GroundTruth, detections: DetectionTable) -> None:
    """InputError if the detections refer to other images or classes than the ground truth's."""
    if detections.image_ids != truth.image_ids or detections.class_names != truth.class_names:
        raise InputError("the detections refer to other images or classes than those of the ground truth")
