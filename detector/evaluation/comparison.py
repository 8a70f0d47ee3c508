"""Two detectors on the same images: the difference by class, and the images that differ most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, NamedTuple

import numpy as np

from detector.data.blacklist import Blacklist
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors import image_errors
from detector.evaluation.evaluation import DEFAULT_SCORE, Metric, match_by_metric
from detector.evaluation.metrics.bootstrap import CONFIDENCE, Intervals, compare_average_precision
from detector.evaluation.metrics.formatting import number
from detector.evaluation.metrics.voc import match_voc

# Number of images in the text of a comparison.
_LISTED = 10


class ImageDifference(NamedTuple):
    """How the errors of two detectors in one image differ, at the score threshold of the comparison.

    Attributes:
        image: id of the image in the data set.
        difference: objects found by one alone, and the difference in the number of false positives.
        errors_a, errors_b: missed objects and false positives of each.
    """

    image: str | int
    difference: int
    found_by_a_alone: int
    found_by_b_alone: int
    false_positives_a: int
    false_positives_b: int
    errors_a: int
    errors_b: int


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

    def rows(self) -> list[tuple[str, float, float, float, float, float]]:
        """Name, a, b, difference and the ends of its interval, of the classes and then of the mean."""
        d = self.difference
        columns = (array.tolist() for array in (self.a.ap, self.b.ap, d.ap, d.low, d.high))
        return list(zip([*d.class_names, "mAP"], *columns, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: fractions 0 to 1, None for a class without objects."""
        rows = [
            {"a": number(a), "b": number(b), "difference": number(d), "interval": None if isnan(low) else [low, high]}
            for _, a, b, d, low, high in self.rows()
        ]
        return {
            "a": self.names[0],
            "b": self.names[1],
            "metric": self.metric,
            "iou_thresholds": [round(value, 6) for value in self.iou_thresholds],
            "mAP": rows[-1],
            "AP": dict(zip(self.difference.class_names, rows, strict=False)),
            "confidence": CONFIDENCE,
            "resamples": self.difference.resamples,
            "score_threshold": self.score,
            "images": [image._asdict() for image in self.images],
        }

    def table(self) -> str:
        """The comparison as text, average precision in percent; a star marks an interval without 0."""
        width = max(len(name) for name in [*self.objects, "class"])
        lines = [f"A is {self.names[0]}, B is {self.names[1]}", ""]
        lines.append(f"{'class':{width}}  objects   A %    B %    B - A  {f'{100 * CONFIDENCE:g} % interval':>14}")
        counts = [*self.objects.values(), sum(self.objects.values())]
        for (name, a, b, d, low, high), objects in zip(self.rows(), counts, strict=True):
            line = f"{name:{width}}  {objects:7}"
            if isnan(a):
                line += f"  {'-':>5}  {'-':>5}  {'-':>6}"
            else:
                line += f"  {100 * a:5.1f}  {100 * b:5.1f}  {100 * d:+6.1f}"
            if not isnan(low):
                line += f"  {100 * low:+6.1f} {100 * high:+7.1f}{' *' if low > 0 or high < 0 else ''}"
            lines.append(line)
        thresholds = ", ".join(f"{value:g}" for value in self.iou_thresholds)
        lines += ["", f"metric {self.metric} at IoU {thresholds}; {self.difference.images} images"]
        resamples = self.difference.resamples
        lines.append(f"paired bootstrap over images, {resamples} resamples; * the interval excludes 0")
        rule = f" (detections of score {self.score:g} or more, at IoU 0.5)"
        if not self.images:
            return "\n".join([*lines, f"no image differs in the objects found or the false positives{rule}"])
        lines += ["", f"largest of {len(self.images)} differences between images{rule}:"]
        width = max(len(str(image.image)) for image in self.images[:_LISTED])
        lines += [
            f"{image.image!s:{width}}  objects found by A only {image.found_by_a_alone}, by B only"
            f" {image.found_by_b_alone}; false positives {image.false_positives_a} and {image.false_positives_b}"
            for image in self.images[:_LISTED]
        ]
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
    first, second = (match_by_metric(truth, d, metric, iou_thresholds, blacklist) for d in (a, b))
    of_a, of_b, difference = compare_average_precision(
        list(first.values()), list(second.values()), metric, resamples=resamples, seed=seed
    )
    objects = next(iter(first.values())).objects.tolist()
    errors_a, errors_b = (image_errors(match_voc(truth, d)[0.5], score) for d in (a, b))
    images = len(truth.image_ids)
    only_a = np.bincount(truth.images[errors_a.found & ~errors_b.found], minlength=images)
    only_b = np.bincount(truth.images[errors_b.found & ~errors_a.found], minlength=images)
    false_a, false_b = errors_a.false_positives_by_image, errors_b.false_positives_by_image
    size = only_a + only_b + np.abs(false_a - false_b)
    columns = np.column_stack([size, only_a, only_b, false_a, false_b, errors_a.errors, errors_b.errors])
    order = np.argsort(-size, kind="stable")
    differ = order[size[order] > 0].tolist()
    return Comparison(
        names=names,
        metric=metric,
        iou_thresholds=tuple(first),
        a=of_a,
        b=of_b,
        difference=difference,
        objects=dict(zip(truth.class_names, objects, strict=True)),
        images=tuple(ImageDifference(truth.image_ids[i], *columns[i].tolist()) for i in differ),
        score=score,
    )
