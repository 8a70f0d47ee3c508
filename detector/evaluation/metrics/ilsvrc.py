"""Average precision of the ILSVRC detection task (DET).

The rules are those of the development kit's eval_detection.m (2014 to 2017) and of Russakovsky et al., ImageNet Large
Scale Visual Recognition Challenge, IJCV 2015, section 4.3.
"""

from collections.abc import Sequence

import numpy as np

from detector.data.blacklist import Blacklist
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth, check_rows
from detector.evaluation.metrics.matching import Matches, check_input, counted_objects, match_free_objects
from detector.evaluation.metrics.pairs import BoolArray, FloatArray
from detector.evaluation.metrics.voc import APResult

PIXEL_TOLERANCE = 10
"""Pixels by which a detection's width and height may exceed a small object's and still find it."""


def ilsvrc_average_precision(
    truth: GroundTruth, detections: DetectionTable, blacklist: Blacklist | None = None, iou_threshold: float = 0.5
) -> APResult:
    """Average precision of `detections` as ILSVRC DET defines it; see `match_ilsvrc` for the matching.

    It is the area under the curve of the highest precision at each recall or beyond, like VOC's from 2010 on. A class
    without objects that count has NaN and is excluded from the mean.

    Args:
        detections: down to the lowest score that should count.
        blacklist: images and classes whose objects and detections are ignored.
        iou_threshold: IoU at which a detection finds a large object; ILSVRC's is 0.5.

    Raises:
        InputError: `match_ilsvrc` raises it.
    """
    matches = match_ilsvrc(truth, detections, blacklist, [iou_threshold])[iou_threshold]
    return APResult.of(matches, "ilsvrc", iou_threshold)


def object_thresholds(truth: GroundTruth, iou_threshold: float = 0.5) -> FloatArray:
    """(N,) IoU at which a detection finds each object: wh / ((w + 10)(h + 10)), at most `iou_threshold`.

    A detection that is 10 pixels too wide and too high has exactly that IoU.
    """
    # On boxes with exclusive right and bottom, the width is the development kit's xmax - xmin + 1.
    width, height = truth.sides.T
    return np.minimum(iou_threshold, width * height / ((width + PIXEL_TOLERANCE) * (height + PIXEL_TOLERANCE)))


def match_ilsvrc(
    truth: GroundTruth, detections: DetectionTable, blacklist: Blacklist | None, iou_thresholds: Sequence[float]
) -> dict[float, Matches]:
    """Match detections with annotated objects by ILSVRC's rule, at each IoU threshold.

    In order of score, each detection considers the free objects of its image and class whose threshold
    (`object_thresholds`) its IoU reaches. It takes the one with the highest IoU (the first of equal ones) and is a true
    positive; without such an object it is a false positive. So, unlike in VOC, a second detection of an object may find
    another one. Equal scores are in the order of the images' numbers, then of the table.

    ILSVRC has no difficult objects and no crowds. If `truth` has some, they make no detection a true positive, and a
    would-be false positive that reaches the threshold of one is ignored.

    Raises:
        InputError: a threshold is not above 0 and at most 1, the blacklist has an image or class that `truth` lacks,
            or the detections refer to other images or classes.
    """
    check_input(truth, detections, iou_thresholds)
    order = np.lexsort((np.array(truth.image_numbers, np.int64)[detections.images], -detections.scores))
    thresholds = {threshold: object_thresholds(truth, threshold) for threshold in iou_thresholds}
    found = match_free_objects(truth, detections, order, thresholds, counted_objects(truth), coco=False)
    if blacklist is None:
        return found
    objects, boxes = ~_listed(blacklist, truth, truth), ~_listed(blacklist, truth, detections)
    return {threshold: matches.within(objects, boxes) for threshold, matches in found.items()}


def _listed(blacklist: Blacklist, truth: GroundTruth, table: GroundTruth | DetectionTable) -> BoolArray:
    """Which rows are of an image and a class on the blacklist."""
    classes = len(truth.class_names)
    check_rows("blacklist", blacklist.images, len(truth.image_ids), blacklist.labels, classes, np.zeros((0, 4)))
    return np.isin(table.images * classes + table.labels, blacklist.images * classes + blacklist.labels)
