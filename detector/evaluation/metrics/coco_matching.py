"""Which detections find an object by COCO's rule, for what the fast engine does not do: resampling images."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.coco import IOU_THRESHOLDS, MAX_DETECTIONS
from detector.evaluation.metrics.coco_engine import image_places
from detector.evaluation.metrics.greedy_matching import FreeObjects
from detector.evaluation.metrics.ranked_matches import RankedMatches, rank_matches
from detector.evaluation.metrics.sizes import ALL, AREA_RANGES, outside
from detector.evaluation.metrics.voc_matching import (
    Matches,
    check_threshold,
    paired_iou,
    pairs_of_a_class,
    place_in_group,
)


def judge_coco(
    truth: GroundTruth,
    detections: DetectionTable,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
    max_detections: int = MAX_DETECTIONS[-1],
) -> dict[float, RankedMatches]:
    """What counts by COCO's rule (see `coco.coco_average_precision`) in objects of all sizes, by IoU threshold.

    A detection that finds no object which counts is left out if it reaches a difficult object that is still free, or
    a crowd. What is larger than the largest of COCO's areas counts neither way, as in the engine.

    Raises:
        InputError: a threshold is wrong, or the detections refer to other images or classes.
    """
    for threshold in iou_thresholds:
        check_threshold(threshold)
    check_same_data(truth, detections)
    truth = dataclasses.replace(truth, boxes=_engine_boxes(truth))
    detections = dataclasses.replace(detections, boxes=_engine_boxes(detections))
    # Equal scores in the order that the engine gives them.
    order = np.lexsort((image_places(truth.image_ids)[detections.images], -detections.scores))
    groups = (detections.images * len(truth.class_names) + detections.labels)[order]
    looked_at = place_in_group(groups) < max_detections
    order, groups = order[looked_at], groups[looked_at]
    ranked = detections[order]
    areas = truth.areas, ranked.sides.prod(axis=1)
    neither, not_judged = (outside(one, AREA_RANGES[ALL]) for one in areas)
    neither |= truth.difficult | truth.crowd
    # Objects that count, and the others, which a detection takes if it finds none that counts.
    found = {
        threshold: [FreeObjects(groups, len(truth), shared=truth.crowd, last_of_equals=True) for _ in range(2)]
        for threshold in iou_thresholds
    }
    for pairs in pairs_of_a_class(truth, ranked):
        crowd = truth.crowd[pairs.objects]
        pairs.overlaps[crowd] = paired_iou(truth, ranked, pairs.detections[crowd], pairs.objects[crowd], crowd=True)
        for threshold, (right, others) in found.items():
            # pycocotools asks for a hair less than 1 where 1 is asked, and gives the last of equally good objects.
            near = pairs[pairs.overlaps >= min(threshold, 1 - 1e-10)]
            right.take(near[~neither[near.objects]])
            others.take(near[neither[near.objects] & (right.taken[near.detections] < 0)])
    judged = {}
    for threshold, (right, others) in found.items():
        hits = right.taken >= 0
        counts = hits | ((others.taken < 0) & ~not_judged)
        matches = Matches(order, np.where(hits, right.taken, others.taken), hits, counts)
        judged[threshold] = rank_matches(truth, detections, matches, AREA_RANGES[ALL])
    return judged


def _engine_boxes(table: GroundTruth | DetectionTable) -> npt.NDArray[np.float64]:
    """(N, 4) boxes whose right and bottom are x + width and y + height, as the engine and pycocotools compute them."""
    corners = table.boxes[:, :2]
    return np.hstack([corners, corners + table.sides])
