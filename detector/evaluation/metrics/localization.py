"""The error of the ILSVRC classification and localization task (CLS-LOC): five guesses per image.

The rules are those of the development kit's eval_clsloc.m and of Russakovsky et al., ImageNet Large Scale Visual
Recognition Challenge, IJCV 2015, sections 4.1 and 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.formatting import number, percent
from detector.evaluation.metrics.matching import check_input, rank, rank_in_group
from detector.evaluation.metrics.pairs import BoolArray, FloatArray, best_of_pairs, pairs_of_images

GUESSES = 5
"""Guesses per image in the challenge."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LocalizationResult:
    """Errors with 1, 2, ... G guesses, fractions of the images; NaN without images.

    Attributes:
        classification: (G,) float64, images whose class is not among the first 1, 2, ... G guesses.
        localization: (G,) float64, images without a guess of the right class whose box has enough IoU; excluded images
            are not part of it.
        images: number of images.
        localized_images: number of images that `localization` is about.
        iou_threshold: IoU that is enough.
    """

    classification: FloatArray
    localization: FloatArray
    images: int
    localized_images: int
    iou_threshold: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; each list has the errors with 1, 2, ... G guesses."""
        return {
            "metric": "clsloc",
            "iou_threshold": self.iou_threshold,
            "images": self.images,
            "localized_images": self.localized_images,
            "classification_error": list(map(number, self.classification)),
            "localization_error": list(map(number, self.localization)),
        }

    def table(self) -> str:
        """The result as text, in percent."""
        errors = zip(self.classification, self.localization, strict=True)
        rows = [f"{n:7}  {percent(c):>7}  {percent(b):>13}" for n, (c, b) in enumerate(errors, start=1)]
        counted = f"metric clsloc at IoU {self.iou_threshold:g}; {self.images} images"
        return "\n".join(["guesses  class %  class and box %", *rows, "", f"error by the number of guesses; {counted}"])


def best_of_classes(detections: DetectionTable) -> DetectionTable:
    """The best detection of each class in each image, best first: a detector's guesses, which name no class twice."""
    ranked = detections[rank(detections)]
    _, first = np.unique(np.stack((ranked.images, ranked.labels)), axis=1, return_index=True)
    return ranked[np.sort(first)]


def localization_error(
    truth: GroundTruth,
    detections: DetectionTable,
    guesses: int = GUESSES,
    iou_threshold: float = 0.5,
    left_out: Sequence[int] = (),
) -> LocalizationResult:
    """Top-1 to top-5 error of classification and localization.

    The guesses of an image are its `guesses` detections of highest score, of whatever classes (equal scores in the
    order of the table). A guess is right if its class is that of the image and its box has an IoU of at least
    `iou_threshold` with any object of that class. An image with objects of several classes counts by the share of its
    classes that are not found.

    Args:
        truth: the images, each with at least one object.
        left_out: images (indices) to exclude from the error of localization: the task's blacklist.

    Raises:
        InputError: `guesses` is below 1, an index in `left_out` is out of range, an image has no object and so no
            class, the threshold is out of range, or the detections refer to other images or classes.
    """
    if guesses < 1:
        raise InputError(f"guesses is {guesses}; give at least 1")
    check_input(truth, detections, [iou_threshold])
    classes, images = len(truth.class_names), len(truth.image_ids)
    targets = np.unique(truth.images * classes + truth.labels)  # pairs of an image and a class to guess
    target_images = targets // classes
    per_image = np.bincount(target_images, minlength=images)
    if not per_image.all():
        image = truth.image_ids[int(np.argmin(per_image))]
        raise InputError(f"image {image!r} has no object; the localization task needs a class and a box of every image")
    evaluated = np.ones(images, dtype=bool)
    for image in left_out:
        if not 0 <= image < images:
            raise InputError(f"left_out: image {image} is not in 0..{images - 1}")
        evaluated[image] = False

    ranked = detections[rank(detections)]
    guess = rank_in_group(ranked.images)
    ranked, guess = ranked[guess < guesses], guess[guess < guesses]
    _, overlaps = best_of_pairs(pairs_of_images(truth, ranked), len(ranked))
    keys = ranked.images * classes + ranked.labels

    def errors(right: BoolArray, counted: BoolArray) -> FloatArray:
        """(G,) share of the `counted` images without a right guess among the first 1, 2, ... G."""
        missed = [~np.isin(targets, keys[right & (guess <= last)]) & counted[target_images] for last in range(guesses)]
        with np.errstate(invalid="ignore"):
            return np.array([(1 / per_image[target_images] * row).sum() for row in missed]) / counted.sum()

    return LocalizationResult(
        classification=errors(np.ones(len(ranked), dtype=bool), np.ones(images, dtype=bool)),
        localization=errors(overlaps >= iou_threshold, evaluated),
        images=images,
        localized_images=int(evaluated.sum()),
        iou_threshold=iou_threshold,
    )
