"""The error of the ILSVRC classification and localization task (CLS-LOC): five guesses an image.

The rules are those of the development kit's eval_clsloc.m and of Russakovsky et al., ImageNet Large Scale Visual
Recognition Challenge, IJCV 2015, sections 4.1 and 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.data.detection_table import DetectionTable, check_same_data
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.formatting import number
from detector.evaluation.metrics.voc_matching import (
    best_of_pairs,
    check_threshold,
    pairs_of_a_class,
    place_in_group,
    rank,
)

GUESSES = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class LocalizationResult:
    """Errors with 1, 2, ... guesses, fractions of the images; NaN without images.

    Attributes:
        classification: (G,) float64, images whose class is not among the first 1, 2, ... G guesses.
        localization: (G,) float64, images without a guess of the right class whose box has enough IoU; of the images
            that are not left out.
        images: number of images.
        localized_images: number of those that are not left out.
        iou_threshold: IoU that is enough.
    """

    classification: npt.NDArray[np.float64]
    localization: npt.NDArray[np.float64]
    images: int
    localized_images: int
    iou_threshold: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the errors' places in their lists are the number of guesses less one."""
        return {
            "metric": "ilsvrc_localization",
            "iou_threshold": self.iou_threshold,
            "images": self.images,
            "localized_images": self.localized_images,
            "classification_error": [number(value) for value in self.classification],
            "localization_error": [number(value) for value in self.localization],
        }


def localization_error(
    truth: GroundTruth,
    detections: DetectionTable,
    guesses: int = GUESSES,
    iou_threshold: float = 0.5,
    left_out: Sequence[int] = (),
) -> LocalizationResult:
    """Top-1 to top-5 error of classification and localization.

    The guesses of an image are its detections of highest score, of whatever classes (in the order of the table where
    scores are equal); more than `guesses` are not looked at. A guess is right if its class is that of the image and
    its box has an IoU of at least `iou_threshold` with any object of that class. An image with objects of several
    classes counts by the share of the classes that are not found.

    Args:
        truth: the images, each with at least one object.
        left_out: images (indices) that the error of localization leaves out: the task's blacklist.

    Raises:
        InputError: `guesses` is below 1, a number of `left_out` is no image, an image has no object and so no class,
            the threshold is wrong, or the detections refer to other images or classes.
    """
    if guesses < 1:
        raise InputError(f"guesses is {guesses}; give at least 1")
    check_threshold(iou_threshold)
    check_same_data(truth, detections)
    classes = len(truth.class_names)
    wanted = np.unique(truth.images * classes + truth.labels)
    wanted_images = wanted // classes
    per_image = np.bincount(wanted_images, minlength=len(truth.image_ids))
    if not per_image.all():
        image = truth.image_ids[int(np.argmin(per_image))]
        raise InputError(f"image {image!r} has no object; the localization task needs a class and a box of every image")
    judged = np.ones(len(per_image), dtype=bool)
    for image in left_out:
        if not 0 <= image < len(judged):
            raise InputError(f"left_out: image {image} is not in 0..{len(judged) - 1}")
        judged[image] = False

    ranked = detections[rank(detections)]
    place = place_in_group(ranked.images)
    first = ranked[place < guesses]
    place = place[place < guesses]
    _, overlaps = best_of_pairs(pairs_of_a_class(truth, first), len(first))
    keys = first.images * classes + first.labels
    weights = 1 / per_image[wanted_images]
    classification, localization = np.empty(guesses), np.empty(guesses)
    for count in range(guesses):
        tried = place <= count
        missed = ~np.isin(wanted, keys[tried])
        not_located = ~np.isin(wanted, keys[tried & (overlaps >= iou_threshold)]) & judged[wanted_images]
        classification[count] = _share((weights * missed).sum(), len(judged))
        localization[count] = _share((weights * not_located).sum(), int(judged.sum()))
    return LocalizationResult(
        classification=classification,
        localization=localization,
        images=len(judged),
        localized_images=int(judged.sum()),
        iou_threshold=iou_threshold,
    )


def _share(part: float, whole: int) -> float:
    return float(part) / whole if whole else float("nan")
