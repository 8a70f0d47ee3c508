"""Average precision of the ILSVRC detection task (DET).

The rules are those of the development kit's eval_detection.m (2014 to 2017) and of Russakovsky et al., ImageNet Large
Scale Visual Recognition Challenge, IJCV 2015, section 4.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from detector.data.blacklist import Blacklist
from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth, check_rows
from detector.evaluation.metrics.matching import (
    BoolArray,
    FloatArray,
    FreeObjects,
    IntArray,
    Matches,
    RankedMatches,
    by_area,
    check_threshold,
    counted_objects,
    pairs_of_a_class,
    rank_matches,
)
from detector.evaluation.metrics.sizes import ALL, AreaRange
from detector.evaluation.metrics.voc import ClassResult, OverClasses, class_results

PIXEL_TOLERANCE = 10
"""Pixels by which a detection's width and height may exceed a small object's and still find it."""


@dataclass(frozen=True, eq=False)
class ILSVRCResult(OverClasses):
    """Average precision by class; see `ilsvrc_average_precision`. `iou_threshold` is that of large objects."""

    metric: ClassVar[str] = "ilsvrc"
    iou_threshold: float
    classes: Mapping[str, ClassResult]

    @property
    def median_ap(self) -> float:
        """The median over the classes that have objects, which the development kit prints beside the mean."""
        values = [result.ap for result in self.classes.values() if result.objects]
        return float(np.median(values)) if values else float("nan")


def ilsvrc_average_precision(
    truth: GroundTruth,
    detections: DetectionTable,
    blacklist: Blacklist | None = None,
    iou_threshold: float = 0.5,
    area_range: AreaRange | None = None,
) -> ILSVRCResult:
    """Average precision of `detections` as ILSVRC DET defines it; see `ranked_ilsvrc_matches` for the matching.

    It is the area under the curve of the highest precision at each recall or beyond, like VOC's from 2010 on. A class
    without objects that count has NaN and is excluded from the mean.

    Args:
        detections: down to the lowest score that should count.
        blacklist: images and classes whose objects and detections are ignored.
        iou_threshold: IoU at which a detection finds a large object; ILSVRC's is 0.5.
        area_range: lowest and highest area to evaluate, in square pixels; ILSVRC evaluates all. Objects of another
            area take part in the matching as usual, but they, their detections and false positives of another area
            are ignored.

    Raises:
        InputError: `ranked_ilsvrc_matches` raises it.
    """
    ranges = {ALL: area_range}
    return ilsvrc_average_precisions(truth, detections, blacklist, [iou_threshold], ranges)[iou_threshold, ALL]


def ilsvrc_average_precisions(
    truth: GroundTruth,
    detections: DetectionTable,
    blacklist: Blacklist | None,
    iou_thresholds: Sequence[float],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], ILSVRCResult]:
    """`ilsvrc_average_precision` by IoU threshold and name of the area range; IoUs are computed once."""
    ranked = ranked_ilsvrc_matches(truth, detections, blacklist, iou_thresholds, area_ranges)
    return {key: ILSVRCResult(key[0], class_results(matches, "voc10")) for key, matches in ranked.items()}


def object_thresholds(truth: GroundTruth, iou_threshold: float = 0.5) -> FloatArray:
    """(N,) IoU at which a detection finds each object: wh / ((w + 10)(h + 10)), at most `iou_threshold`.

    A detection that is 10 pixels too wide and too high has exactly that IoU.
    """
    # On boxes with exclusive right and bottom, the width is the development kit's xmax - xmin + 1.
    width, height = truth.sides.T
    return np.minimum(iou_threshold, width * height / ((width + PIXEL_TOLERANCE) * (height + PIXEL_TOLERANCE)))


def ranked_ilsvrc_matches(
    truth: GroundTruth,
    detections: DetectionTable,
    blacklist: Blacklist | None,
    iou_thresholds: Sequence[float],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], RankedMatches]:
    """What counts by ILSVRC's rule, by IoU threshold and name of the area range.

    In order of score, each detection considers the free objects of its image and class whose threshold
    (`object_thresholds`) its IoU reaches. It takes the one with the highest IoU (the first of equal ones) and is a true
    positive; without such an object it is a false positive. So, unlike in VOC, a second detection of an object may find
    another one. Equal scores are in the order of the images' numbers, then of the table.

    ILSVRC has no difficult objects and no crowds. If `truth` has some, they make no detection a true positive, and a
    would-be false positive that reaches the threshold of one is ignored.

    Raises:
        InputError: a threshold or range is invalid, the blacklist has an image or class that `truth` lacks, or the
            detections refer to other images or classes.
    """
    for threshold in iou_thresholds:
        check_threshold(threshold)
    check_same_data(truth, detections)
    order = np.lexsort((np.array(truth.image_numbers, np.int64)[detections.images], -detections.scores))
    ranked = detections[order]
    groups = ranked.images * len(truth.class_names) + ranked.labels
    counted = counted_objects(truth)
    thresholds = {threshold: object_thresholds(truth, threshold) for threshold in iou_thresholds}
    free = {threshold: FreeObjects(groups, len(truth)) for threshold in iou_thresholds}
    for pairs in pairs_of_a_class(truth, ranked):
        for threshold, objects in free.items():
            near = pairs[pairs.overlaps >= thresholds[threshold][pairs.objects]]
            objects.take(near[counted[near.objects]])
            ignored = near[~counted[near.objects] & (objects.taken[near.detections] < 0)]
            objects.taken[ignored.detections] = ignored.objects
    listed = _blacklisted(truth, blacklist, ranked.images, ranked.labels)
    matches = {}
    for threshold, objects in free.items():
        takes = objects.taken >= 0
        counts = ~listed
        counts[takes] &= counted[objects.taken[takes]]
        matches[threshold] = Matches(order, objects.taken, takes & counts, counts)
    excluded = _blacklisted(truth, blacklist, truth.images, truth.labels)
    return {
        key: rank_matches(truth, detections, in_area, area_ranges[key[1]], excluded)
        for key, in_area in by_area(truth, detections, matches, area_ranges).items()
    }


def _blacklisted(truth: GroundTruth, blacklist: Blacklist | None, images: IntArray, labels: IntArray) -> BoolArray:
    """Which rows of images and labels are on the blacklist."""
    if blacklist is None:
        return np.zeros(len(images), dtype=bool)
    count = len(truth.class_names)
    no_boxes = np.zeros((0, 4))
    check_rows("blacklist", blacklist.images, len(truth.image_ids), blacklist.labels, count, no_boxes)
    return np.isin(images * count + labels, blacklist.images * count + blacklist.labels)
