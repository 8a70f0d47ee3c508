"""COCO's metric by hotcoco, a reimplementation of pycocotools in Rust (MIT license) with the same numbers.

Given the same arrays, its precision and recall are those of pycocotools and of faster-coco-eval to the last bits, in a
small part of their time. Two traps of pycocotools are avoided by what it is given: an annotation with the id 0 counts
as one that no detection finds, so ids start with 1; and its summary needs 100 detections an image, so the numbers are
read from the curves and not from the summary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.sizes import AREA_RANGES

#: Outside all of COCO's area ranges: COCO has no flag for an object that counts neither way, but such areas do not.
_NO_AREA = -1.0


@dataclass(frozen=True, eq=False)
class Curves:
    """The arrays of pycocotools' `eval`, -1 replaced by NaN, for T IoU thresholds, K classes, A area ranges (in the
    order of `sizes.AREA_RANGES`) and M numbers of detections.

    Attributes:
        precision: (T, 101, K, A, M) float64 highest precision at recall 0, 0.01, ... 1 or beyond it, 0 where that
            recall is not reached.
        scores: (T, 101, K, A, M) float64 score from which detections are needed for that recall.
        recall: (T, K, A, M) float64 recall of all detections.
    """

    precision: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def coco_curves(
    truth: GroundTruth, detections: DetectionTable, iou_thresholds: Sequence[float], max_detections: Sequence[int]
) -> Curves:
    """Precision and recall by COCO's rules.

    Args:
        iou_thresholds: at least one.
        max_detections: numbers of detections of an image and a class that are looked at, rising.
    """
    shape = (len(iou_thresholds), len(truth.class_names), len(AREA_RANGES), len(max_detections))
    if not truth.image_ids or not truth.class_names:  # the engine refuses such data
        empty = np.full((shape[0], 101, *shape[1:]), np.nan)
        return Curves(empty, empty, np.full(shape, np.nan))

    import hotcoco

    place = image_places(truth.image_ids)
    images = [{"id": number} for number in range(1, len(truth.image_ids) + 1)]
    categories = [{"id": number, "name": name} for number, name in enumerate(truth.class_names, start=1)]
    objects = hotcoco.COCO.from_arrays(
        images,
        categories,
        place[truth.images],
        truth.labels + 1,
        np.hstack([truth.boxes[:, :2], truth.sides]),
        area=np.where(truth.difficult, _NO_AREA, truth.areas),
        iscrowd=truth.crowd,
    )
    found = objects.load_res(
        np.column_stack(
            [
                place[detections.images],
                detections.boxes[:, :2],
                detections.sides,
                detections.scores,
                detections.labels + 1,
            ]
        )
    )
    evaluation = hotcoco.COCOeval(objects, found, "bbox")
    evaluation.params.iou_thrs = list(map(float, iou_thresholds))
    evaluation.params.max_dets = list(map(int, max_detections))
    evaluation.params.area_rng = [list(area_range) for area_range in AREA_RANGES.values()]
    evaluation.params.area_rng_lbl = list(AREA_RANGES)
    evaluation.evaluate()
    evaluation.accumulate()
    arrays = evaluation.eval or {}
    return Curves(*(np.where(arrays[name] < -0.5, np.nan, arrays[name]) for name in ("precision", "scores", "recall")))


def image_places(image_ids: Sequence[str | int]) -> npt.NDArray[np.int64]:
    """(I,) a number from 1 for each image, by which equal scores of different images are ordered.

    pycocotools goes through the images by rising id, whatever their order in the file. Ids that are no numbers keep
    the order of the data set.
    """
    if not all(isinstance(one, int) for one in image_ids):
        return np.arange(1, len(image_ids) + 1)
    place = np.empty(len(image_ids), dtype=np.int64)
    place[np.argsort(np.array(image_ids), kind="stable")] = np.arange(1, len(image_ids) + 1)
    return place
