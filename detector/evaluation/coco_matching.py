"""Which detections find an object by COCO's rule, for what the fast engine does not do: resampling images."""

from collections.abc import Sequence

import numpy as np

from detector.data.ground_truth import GroundTruth
from detector.evaluation.coco import IOU_THRESHOLDS, MAX_DETECTIONS
from detector.evaluation.coco_engine import image_places
from detector.evaluation.greedy import take_free_objects
from detector.evaluation.judgement import Judgement, judgement
from detector.evaluation.matching import (
    Matches,
    Pairs,
    check_threshold,
    paired_intersection,
    pairs_of_a_class,
    place_in_group,
)
from detector.evaluation.table import DetectionTable, check_same_data


def judge_coco(
    truth: GroundTruth,
    detections: DetectionTable,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
    max_detections: int = MAX_DETECTIONS[-1],
) -> dict[float, Judgement]:
    """What counts by COCO's rule (see `coco.coco_average_precision`) in objects of all sizes, by IoU threshold.

    A detection that finds no object which counts is left out if it reaches a difficult object that is still free, or
    a crowd.

    Raises:
        InputError: a threshold is wrong, or the detections refer to other images or classes.
    """
    for threshold in iou_thresholds:
        check_threshold(threshold)
    check_same_data(truth, detections)
    # Equal scores in the order that the engine gives them.
    order = np.lexsort((image_places(truth.image_ids)[detections.images], -detections.scores))
    groups = (detections.images * len(truth.class_names) + detections.labels)[order]
    looked_at = place_in_group(groups) < max_detections
    order, groups = order[looked_at], groups[looked_at]
    ranked = detections[order]
    pairs = pairs_of_a_class(truth, ranked)
    crowd = truth.crowd[pairs.objects]
    inside = ranked.boxes[pairs.detections[crowd]]
    overlaps = pairs.overlaps.copy()
    areas = np.prod(inside[:, 2:] - inside[:, :2], axis=1)
    shared = paired_intersection(inside, truth.boxes[pairs.objects[crowd]])
    overlaps[crowd] = np.divide(shared, areas, out=np.zeros(len(areas)), where=areas > 0)
    pairs = Pairs(pairs.detections, pairs.objects, overlaps)
    difficult = (truth.difficult & ~truth.crowd)[pairs.objects]
    best = np.zeros(len(ranked))
    np.maximum.at(best, pairs.detections, overlaps)
    judged = {}
    for threshold in iou_thresholds:
        # pycocotools asks for a hair less than 1 where 1 is asked, and gives the last of equally good objects.
        near = overlaps >= min(threshold, 1 - 1e-10)
        objects = take_free_objects(pairs[near & ~difficult & ~crowd], groups, len(truth), last_of_equals=True)
        hits = objects >= 0
        left = near & difficult & ~hits[pairs.detections]
        others = take_free_objects(pairs[left], groups, len(truth), last_of_equals=True)
        objects = np.where(hits, objects, others)
        loose = pairs[near & crowd & (objects[pairs.detections] < 0)]
        objects[loose.detections] = loose.objects
        matches = Matches(order, objects, best, hits, hits | (objects < 0))
        judged[threshold] = judgement(truth, detections, matches)
    return judged
