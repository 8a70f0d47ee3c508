"""Matches by COCO's rule, which hotcoco does not return: the bootstrap resamples their images."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.coco import IOU_THRESHOLDS, MAX_DETECTIONS, image_numbers
from detector.evaluation.metrics.matching import (
    FloatArray,
    FreeObjects,
    Matches,
    RankedMatches,
    check_threshold,
    counted_objects,
    paired_iou,
    pairs_of_a_class,
    rank_in_group,
    rank_matches,
)
from detector.evaluation.metrics.sizes import ALL, AREA_RANGES, outside


def ranked_coco_matches(
    truth: GroundTruth, detections: DetectionTable, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> dict[float, RankedMatches]:
    """What counts by COCO's rule (see `coco.coco_average_precision`) for objects of all sizes, by IoU threshold.

    A detection that finds no object which counts is ignored if it reaches a difficult object that is still free, or a
    crowd. Areas beyond COCO's largest are ignored, as in hotcoco.

    Raises:
        InputError: a threshold is out of range, or the detections refer to other images or classes.
    """
    for threshold in iou_thresholds:
        check_threshold(threshold)
    check_same_data(truth, detections)
    truth = dataclasses.replace(truth, boxes=_coco_boxes(truth))
    detections = dataclasses.replace(detections, boxes=_coco_boxes(detections))
    # Equal scores in hotcoco's order.
    order = np.lexsort((image_numbers(truth.image_ids)[detections.images], -detections.scores))
    groups = (detections.images * len(truth.class_names) + detections.labels)[order]
    evaluated = rank_in_group(groups) < MAX_DETECTIONS[-1]
    order, groups = order[evaluated], groups[evaluated]
    ranked = detections[order]
    ignored = ~counted_objects(truth) | outside(truth.areas, AREA_RANGES[ALL])
    ignored_boxes = outside(ranked.sides.prod(axis=1), AREA_RANGES[ALL])
    # Objects that count, and the ignored ones, which a detection takes if it finds none that counts.
    free = {
        threshold: [FreeObjects(groups, len(truth), reusable=truth.crowd, last_of_equals=True) for _ in range(2)]
        for threshold in iou_thresholds
    }
    for pairs in pairs_of_a_class(truth, ranked):
        crowd = truth.crowd[pairs.objects]
        pairs.overlaps[crowd] = paired_iou(truth, ranked, pairs.detections[crowd], pairs.objects[crowd], crowd=True)
        for threshold, (counting, ignoring) in free.items():
            # pycocotools lowers a threshold of 1 by a hair, and gives the last of equally good objects.
            near = pairs[pairs.overlaps >= min(threshold, 1 - 1e-10)]
            counting.take(near[~ignored[near.objects]])
            ignoring.take(near[ignored[near.objects] & (counting.taken[near.detections] < 0)])
    ranked_matches = {}
    for threshold, (counting, ignoring) in free.items():
        hits = counting.taken >= 0
        counts = hits | ((ignoring.taken < 0) & ~ignored_boxes)
        matches = Matches(order, np.where(hits, counting.taken, ignoring.taken), hits, counts)
        ranked_matches[threshold] = rank_matches(truth, detections, matches, AREA_RANGES[ALL])
    return ranked_matches


def _coco_boxes(table: GroundTruth | DetectionTable) -> FloatArray:
    """(N, 4) boxes whose right and bottom are x + width and y + height, as hotcoco and pycocotools compute them."""
    corners = table.boxes[:, :2]
    return np.hstack([corners, corners + table.sides])
