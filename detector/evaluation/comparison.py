"""Two detectors on the same images: the difference by class, and the images that differ most."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.data.blacklist import Blacklist
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors import ImageErrors, image_errors
from detector.evaluation.evaluation import DEFAULT_SCORE, Metric, checked_thresholds, match_by_metric
from detector.evaluation.metrics.bootstrap import Interval, Intervals, compare_average_precision
from detector.evaluation.metrics.formatting import number
from detector.evaluation.metrics.matching import IntArray, MatchesByRow
from detector.evaluation.metrics.voc import match_detections

# Number of images in the text of a comparison.
_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class ImageDifference:
    """How the errors of two detectors in one image differ, at the score threshold of the comparison.

    Attributes:
        image_id: id of the image in the data set.
        found_by_a, found_by_b: objects found by one of them only.
        false_a, false_b: false positives of each.
        errors_a, errors_b: missed objects and false positives of each.
    """

    image_id: str | int
    found_by_a: int
    found_by_b: int
    false_a: int
    false_b: int
    errors_a: int
    errors_b: int

    @property
    def size(self) -> int:
        """Size of the difference: objects found by one only, and the difference in the number of false positives."""
        return self.found_by_a + self.found_by_b + abs(self.false_a - self.false_b)


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Two results on the same images; differences are those of `b` less `a`.

    Attributes:
        names: of a and b, such as the names of their files.
        metric, iou_thresholds: how both were evaluated.
        a, b, difference: average precision by class, with intervals over images; those of `difference` are of the
            differences in the same resamples, and so narrower than those of a and b suggest.
        objects: number of objects that count by class name.
        images: the images that differ, the largest difference first; equal ones in the order of the data set.
        score: lowest score of the detections that `images` are about.
    """

    names: tuple[str, str]
    metric: Metric
    iou_thresholds: tuple[float, ...]
    a: Intervals
    b: Intervals
    difference: Intervals
    objects: Mapping[str, int]
    images: tuple[ImageDifference, ...]
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: fractions 0 to 1, None for a class without objects."""
        rows = zip(self.difference.class_names, self.a.ap, self.b.ap, self.difference.ap, strict=True)
        intervals = self.difference.classes
        return {
            "a": self.names[0],
            "b": self.names[1],
            "metric": self.metric,
            "iou_thresholds": [round(value, 6) for value in self.iou_thresholds],
            "mAP": _row(self.a.mean_ap, self.b.mean_ap, self.difference.mean_ap, self.difference.mean),
            "AP": {name: _row(a, b, change, intervals.get(name)) for name, a, b, change in rows},
            "confidence": self.difference.confidence,
            "resamples": self.difference.resamples,
            "score_threshold": self.score,
            "images": [
                {
                    "image": image.image_id,
                    "difference": image.size,
                    "found_by_a_alone": image.found_by_a,
                    "found_by_b_alone": image.found_by_b,
                    "false_positives_a": image.false_a,
                    "false_positives_b": image.false_b,
                    "errors_a": image.errors_a,
                    "errors_b": image.errors_b,
                }
                for image in self.images
            ],
        }

    def table(self) -> str:
        """The comparison as text, average precision in percent; a star marks an interval without 0."""
        d = self.difference
        width = max(len(name) for name in [*self.objects, "class"])
        lines = [f"A is {self.names[0]}, B is {self.names[1]}", ""]
        lines.append(f"{'class':{width}}  objects   A %    B %    B - A  {f'{100 * d.confidence:g} % interval':>14}")
        for name, a, b, change in zip(d.class_names, self.a.ap, self.b.ap, d.ap, strict=True):
            lines.append(_line(name, width, self.objects[name], a, b, change, d.classes.get(name)))
        total = sum(self.objects.values())
        lines.append(_line("mAP", width, total, self.a.mean_ap, self.b.mean_ap, d.mean_ap, d.mean))
        thresholds = ", ".join(f"{value:g}" for value in self.iou_thresholds)
        lines += ["", f"metric {self.metric} at IoU {thresholds}; {d.images} images"]
        lines.append(f"paired bootstrap over images, {d.resamples} resamples; * the interval excludes 0")
        if not self.images:
            return "\n".join([*lines, f"no image differs at score {self.score:g}"])
        lines += ["", f"largest of {len(self.images)} differences between images at score {self.score:g}:"]
        width = max(len(str(image.image_id)) for image in self.images[:_LISTED])
        lines += [_image_line(image, width) for image in self.images[:_LISTED]]
        return "\n".join(lines)


def compare(
    truth: GroundTruth,
    a: DetectionTable,
    b: DetectionTable,
    metric: Metric = "voc07",
    iou_thresholds: Sequence[float] | None = None,
    blacklist: Blacklist | None = None,
    *,
    names: tuple[str, str] = ("A", "B"),
    score: float = DEFAULT_SCORE,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two sets of detections in the same images.

    Args:
        metric, iou_thresholds, blacklist: as for `evaluate`; AP is averaged over several thresholds.
        names: of the two.
        score: lowest score of the detections by which images are compared (at IoU 0.5); AP includes all.
        resamples, seed: of the bootstrap.

    Raises:
        InputError: metric or threshold is invalid, or `a` or `b` are detections in other images.
    """
    (first, curve), (second, _) = (match_by_metric(truth, d, metric, iou_thresholds, blacklist) for d in (a, b))
    compared = compare_average_precision(first, second, curve, resamples=resamples, seed=seed)
    objects = np.bincount(first[0].object_labels, minlength=len(truth.class_names)).tolist()
    errors = [image_errors(truth, d, MatchesByRow.of(truth, match_detections(truth, d)), score) for d in (a, b)]
    return Comparison(
        names=names,
        metric=metric,
        iou_thresholds=checked_thresholds(metric, iou_thresholds),
        a=compared.first,
        b=compared.second,
        difference=compared.difference,
        objects=dict(zip(truth.class_names, objects, strict=True)),
        images=_image_differences(truth, *errors),
        score=score,
    )


def _image_differences(truth: GroundTruth, a: ImageErrors, b: ImageErrors) -> tuple[ImageDifference, ...]:
    def found_only_by(first: ImageErrors, second: ImageErrors) -> IntArray:
        return np.bincount(truth.images[first.found & ~second.found], minlength=len(truth.image_ids))

    only_a, only_b = found_only_by(a, b), found_only_by(b, a)
    size = only_a + only_b + np.abs(a.false_positives_by_image - b.false_positives_by_image)
    order = np.argsort(-size, kind="stable")
    return tuple(
        ImageDifference(
            image_id=truth.image_ids[i],
            found_by_a=int(only_a[i]),
            found_by_b=int(only_b[i]),
            false_a=int(a.false_positives_by_image[i]),
            false_b=int(b.false_positives_by_image[i]),
            errors_a=int(a.errors[i]),
            errors_b=int(b.errors[i]),
        )
        for i in order[size[order] > 0].tolist()
    )


def _row(a: float, b: float, difference: float, interval: Interval | None) -> dict[str, Any]:
    ends = None if interval is None or math.isnan(interval.low) else [interval.low, interval.high]
    return {"a": number(a), "b": number(b), "difference": number(difference), "interval": ends}


def _line(name: str, width: int, objects: int, a: float, b: float, difference: float, interval: Interval | None) -> str:
    if math.isnan(a):
        return f"{name:{width}}  {objects:7}  {'-':>5}  {'-':>5}  {'-':>6}"
    line = f"{name:{width}}  {objects:7}  {100 * a:5.1f}  {100 * b:5.1f}  {100 * difference:+6.1f}"
    if interval is None or math.isnan(interval.low):
        return line
    star = " *" if interval.low > 0 or interval.high < 0 else ""
    return f"{line}  {100 * interval.low:+6.1f} {100 * interval.high:+7.1f}{star}"


def _image_line(image: ImageDifference, width: int) -> str:
    found = f"objects found by A only {image.found_by_a}, by B only {image.found_by_b}"
    return f"{image.image_id!s:{width}}  {found}; false positives {image.false_a} and {image.false_b}"
