"""Average precision of the ILSVRC detection task (DET).

The rules are those of the development kit's eval_detection.m (2014 to 2017) and of Russakovsky et al., ImageNet Large
Scale Visual Recognition Challenge, IJCV 2015, section 4.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from detector.data.blacklist import Blacklist
from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth, check_rows
from detector.evaluation.metrics.greedy_matching import FreeObjects
from detector.evaluation.metrics.ranked_matches import RankedMatches, rank_matches
from detector.evaluation.metrics.sizes import ALL, AreaRange
from detector.evaluation.metrics.voc import ClassResult, OverClasses, class_results
from detector.evaluation.metrics.voc_matching import Matches, by_area, check_threshold, pairs_of_a_class

#: Pixels that a detection's width and height may be too large without missing a small object.
PIXEL_TOLERANCE = 10


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
    """Average precision of `detections` as ILSVRC DET defines it; how they are matched: `match_ilsvrc`.

    It is the area under the curve of the highest precision at each recall or beyond it, like VOC's from 2010 on.
    Where no object of a class counts its average precision is NaN and not in the mean.

    Args:
        detections: down to the lowest score that is to count.
        blacklist: objects and detections of these images and classes count neither way.
        iou_threshold: IoU from which a detection finds a large object; ILSVRC's is 0.5.
        area_range: lowest and highest area that is judged, in square pixels; ILSVRC judges all. Objects of another
            area take part in the matching as always, but they and their detections count neither way, nor do false
            positives of another area.

    Raises:
        InputError: what `match_ilsvrc` refuses.
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
    """`ilsvrc_average_precision` by IoU threshold and name of the area range, with the IoUs measured only once."""
    judged = judge_ilsvrc(truth, detections, blacklist, iou_thresholds, area_ranges)
    return {key: ILSVRCResult(key[0], class_results(one, "voc10")) for key, one in judged.items()}


def judge_ilsvrc(
    truth: GroundTruth,
    detections: DetectionTable,
    blacklist: Blacklist | None,
    iou_thresholds: Sequence[float],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], RankedMatches]:
    """What counts, by IoU threshold and name of the area range."""
    matched = match_ilsvrc(truth, detections, blacklist, iou_thresholds, area_ranges)
    without = _blacklisted(truth, blacklist, truth.images, truth.labels)
    return {
        key: rank_matches(truth, detections, matches, area_ranges[key[1]], without) for key, matches in matched.items()
    }


def object_thresholds(truth: GroundTruth, iou_threshold: float = 0.5) -> npt.NDArray[np.float64]:
    """(N,) IoU from which a detection finds each object: wh / ((w + 10)(h + 10)), at most `iou_threshold`.

    A detection that is 10 pixels too wide and too high just has that IoU.
    """
    # On boxes with exclusive right and bottom, the width is the development kit's xmax - xmin + 1.
    width, height = truth.sides.T
    return np.minimum(iou_threshold, width * height / ((width + PIXEL_TOLERANCE) * (height + PIXEL_TOLERANCE)))


def match_ilsvrc(
    truth: GroundTruth,
    detections: DetectionTable,
    blacklist: Blacklist | None,
    iou_thresholds: Sequence[float],
    area_ranges: Mapping[str, AreaRange | None],
) -> dict[tuple[float, str], Matches]:
    """Matches by IoU threshold and name of the area range.

    In order of score a detection takes, of the objects of its class and image that are still free and whose own
    threshold (`object_thresholds`) its IoU reaches, the one with the highest IoU (the first of equal ones), and is a
    true positive. A detection without such an object is a false positive. So a second detection of an object may find
    another one, unlike in VOC. Equal scores are in the order of the images' numbers, then of the table.

    ILSVRC has no difficult objects and no crowds. Where `truth` has some, no detection is a true positive by them, and
    one that would be a false positive but reaches the threshold of one is left out.

    Raises:
        InputError: a threshold or range is wrong, the blacklist has another image or class than `truth`, or the
            detections refer to other images or classes.
    """
    for threshold in iou_thresholds:
        check_threshold(threshold)
    check_same_data(truth, detections)
    order = np.lexsort((np.array(truth.image_numbers, np.int64)[detections.images], -detections.scores))
    ranked = detections[order]
    groups = ranked.images * len(truth.class_names) + ranked.labels
    neither = truth.difficult | truth.crowd
    least = {threshold: object_thresholds(truth, threshold) for threshold in iou_thresholds}
    found = {threshold: FreeObjects(groups, len(truth)) for threshold in iou_thresholds}
    for pairs in pairs_of_a_class(truth, ranked):
        for threshold in iou_thresholds:
            near = pairs[pairs.overlaps >= least[threshold][pairs.objects]]
            taken = found[threshold].taken
            found[threshold].take(near[~neither[near.objects]])
            loose = near[neither[near.objects] & (taken[near.detections] < 0)]
            taken[loose.detections] = loose.objects
    black = _blacklisted(truth, blacklist, ranked.images, ranked.labels)
    matches = {}
    for threshold, one in found.items():
        takes = one.taken >= 0
        counts = ~black
        counts[takes] &= ~neither[one.taken[takes]]
        matches[threshold] = Matches(order, one.taken, takes & counts, counts)
    return by_area(truth, detections, matches, area_ranges)


def _blacklisted(
    truth: GroundTruth, blacklist: Blacklist | None, images: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    if blacklist is None:
        return np.zeros(len(images), dtype=bool)
    count = len(truth.class_names)
    no_boxes = np.zeros((0, 4))
    check_rows("blacklist", blacklist.images, len(truth.image_ids), blacklist.labels, count, no_boxes)
    return np.isin(images * count + labels, blacklist.images * count + blacklist.labels)
