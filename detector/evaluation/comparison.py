"""Two detectors on the same images: the difference by class, and the images where they differ most."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.data.ground_truth import GroundTruth
from detector.evaluation.diagnosis.images import ImageErrors, image_errors
from detector.evaluation.diagnosis.intervals import APIntervals, Interval
from detector.evaluation.diagnosis.shared import IntArray, Judged
from detector.evaluation.matching import match_detections
from detector.evaluation.report import DEFAULT_SCORE
from detector.evaluation.table import DetectionTable
from detector.evaluation.voc import Metric, VOCResult, voc_average_precision

#: Number of images in the text of a comparison.
_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class ImageDifference:
    """What two detectors do differently in one image, at the score of the comparison.

    Attributes:
        image_id: the data set's own.
        found_by_a, found_by_b: objects that one alone finds.
        false_a, false_b: false positives of each.
        errors_a, errors_b: missed objects and false positives together.
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
        """How much they differ: objects that one alone finds, and the difference of the false positives."""
        return self.found_by_a + self.found_by_b + abs(self.false_a - self.false_b)


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Two results on the same images; differences are those of `b` less `a`.

    Attributes:
        names: of a and b, such as the names of their files.
        a, b: average precision.
        intervals: of the differences, from a bootstrap that draws the same images for both; None if none was made.
        images: those where they differ, most first; equal ones in the order of the data set.
        score: lowest score of the detections that `images` are about.
    """

    names: tuple[str, str]
    a: VOCResult
    b: VOCResult
    intervals: APIntervals | None
    images: tuple[ImageDifference, ...]
    score: float

    @property
    def differences(self) -> dict[str, float]:
        """AP of b less that of a by class, fractions; NaN for a class without objects."""
        other = self.b.ap
        return {name: other[name] - ap for name, ap in self.a.ap.items()}

    @property
    def mean_difference(self) -> float:
        """mAP of b less that of a; NaN without objects."""
        return self.b.mean_ap - self.a.mean_ap

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: fractions 0 to 1, None for a class without objects and where there is no interval."""
        known = self.intervals.classes if self.intervals else {}
        return {
            "a": self.names[0],
            "b": self.names[1],
            "metric": self.a.metric,
            "iou_threshold": self.a.iou_threshold,
            "mAP": _row(self.a.mean_ap, self.b.mean_ap, self.intervals.mean if self.intervals else None),
            "AP": {name: _row(ap, self.b.ap[name], known.get(name)) for name, ap in self.a.ap.items()},
            "interval_level": self.intervals.level if self.intervals else None,
            "bootstrap_samples": self.intervals.samples if self.intervals else None,
            "score_threshold": self.score,
            "images": [
                {
                    "image": one.image_id,
                    "difference": one.size,
                    "found_by_a_alone": one.found_by_a,
                    "found_by_b_alone": one.found_by_b,
                    "false_positives_a": one.false_a,
                    "false_positives_b": one.false_b,
                    "errors_a": one.errors_a,
                    "errors_b": one.errors_b,
                }
                for one in self.images
            ],
        }

    def table(self) -> str:
        """The comparison as text, average precision in percent; a star marks an interval without 0."""
        classes = self.a.classes
        width = max(len(name) for name in [*classes, "class"])
        interval = "" if self.intervals is None else f"  {f'{100 * self.intervals.level:g} % interval':>14}"
        lines = [f"A is {self.names[0]}, B is {self.names[1]}", ""]
        lines.append(f"{'class':{width}}  objects   A %    B %    B - A{interval}")
        known = self.intervals.classes if self.intervals else {}
        other = self.b.ap
        for name, ap in self.a.ap.items():
            lines.append(_line(name, width, classes[name].objects, ap, other[name], known.get(name)))
        objects = sum(result.objects for result in classes.values())
        mean = self.intervals.mean if self.intervals else None
        lines.append(_line("mAP", width, objects, self.a.mean_ap, self.b.mean_ap, mean))
        lines += ["", f"metric {self.a.metric} at IoU {self.a.iou_threshold:g}"]
        if self.intervals is not None:
            lines.append(f"paired bootstrap over images, {self.intervals.samples} samples; * the interval has no 0")
        if not self.images:
            return "\n".join([*lines, f"no image differs at score {self.score:g}"])
        lines += ["", f"images that differ most at score {self.score:g}, of {len(self.images)} that differ:"]
        width = max(len(str(one.image_id)) for one in self.images[:_LISTED])
        lines += [_image_line(one, width) for one in self.images[:_LISTED]]
        return "\n".join(lines)


def compare(
    truth: GroundTruth,
    a: DetectionTable,
    b: DetectionTable,
    *,
    names: tuple[str, str] = ("A", "B"),
    metric: Metric = "voc07",
    iou_threshold: float = 0.5,
    score: float = DEFAULT_SCORE,
    intervals: APIntervals | None = None,
) -> Comparison:
    """Compare two sets of detections in the same images.

    Args:
        names: what the two are called.
        metric: `voc07` (11 points) or `voc10` (area).
        iou_threshold: IoU from which a detection finds an object, above 0 and at most 1.
        score: lowest score of the detections by which images are compared; AP runs over all.
        intervals: of the differences of AP (b less a), of a paired bootstrap over the images.

    Raises:
        InputError: metric or threshold is wrong, or `a` or `b` are detections in other images.
    """
    results, errors = [], []
    for detections in (a, b):
        results.append(voc_average_precision(truth, detections, metric, iou_threshold))
        judged = Judged.of(truth, match_detections(truth, detections, iou_threshold))
        errors.append(image_errors(truth, detections, judged, score))
    return Comparison(
        names=names,
        a=results[0],
        b=results[1],
        intervals=intervals,
        images=_image_differences(truth, errors[0], errors[1]),
        score=score,
    )


def _image_differences(truth: GroundTruth, a: ImageErrors, b: ImageErrors) -> tuple[ImageDifference, ...]:
    def alone(found: ImageErrors, other: ImageErrors) -> IntArray:
        return np.bincount(truth.images[found.found & ~other.found], minlength=len(truth.image_ids))

    only_a, only_b = alone(a, b), alone(b, a)
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


def _row(a: float, b: float, interval: Interval | None) -> dict[str, Any]:
    values = {"a": a, "b": b, "difference": b - a}
    known = {name: None if math.isnan(value) else value for name, value in values.items()}
    usable = interval is not None and not math.isnan(interval.low)
    return {**known, "interval": [interval.low, interval.high] if interval is not None and usable else None}


def _line(name: str, width: int, objects: int, a: float, b: float, interval: Interval | None) -> str:
    if math.isnan(a):
        return f"{name:{width}}  {objects:7}  {'-':>5}  {'-':>5}  {'-':>6}"
    line = f"{name:{width}}  {objects:7}  {100 * a:5.1f}  {100 * b:5.1f}  {100 * (b - a):+6.1f}"
    if interval is None or math.isnan(interval.low):
        return line
    star = " *" if interval.low > 0 or interval.high < 0 else ""
    return f"{line}  {100 * interval.low:+6.1f} {100 * interval.high:+7.1f}{star}"


def _image_line(one: ImageDifference, width: int) -> str:
    alone = f"objects found by A alone {one.found_by_a}, by B alone {one.found_by_b}"
    return f"{one.image_id!s:{width}}  {alone}; false positives {one.false_a} and {one.false_b}"
