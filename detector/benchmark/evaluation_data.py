"""Made-up objects and detections of a data set like COCO's validation images, to time evaluators with."""

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth

DETECTIONS = 39_615
"""Detections to 36,708 objects in 5,000 images of 80 classes; other numbers keep these shares."""

_IMAGES, _OBJECTS, _CLASSES = 5_000, 36_708, 80
_SIZE = (640, 480)


def image_count(detections: int) -> int:
    """How many images that many detections are in."""
    return max(1, round(detections * _IMAGES / DETECTIONS))


def made_up_data(detections: int = DETECTIONS, seed: int = 0) -> tuple[GroundTruth, DetectionTable]:
    """Objects and detections of frequent and rare classes, small and large, a hundredth of the objects crowds.

    Two detections of three lie near an object, the others anywhere. Scores are higher for the former, and have three
    digits, so that some are equal. Coordinates have two decimals, as in COCO's files.
    """
    generator = np.random.default_rng(seed)
    images, objects = image_count(detections), max(1, round(detections * _OBJECTS / DETECTIONS))
    frequency = 1 / np.arange(1, _CLASSES + 1)
    frequency /= frequency.sum()
    places = generator.integers(0, images, objects)
    labels = generator.choice(_CLASSES, objects, p=frequency)
    boxes = _boxes(generator, objects)

    near = generator.integers(0, objects, detections)
    found = generator.random(detections) < 2 / 3
    sides = np.tile(boxes[near, 2:] - boxes[near, :2], 2)
    jittered = boxes[near] + generator.normal(0, 0.08, (detections, 4)) * sides
    jittered[:, 2:] = np.maximum(jittered[:, 2:], jittered[:, :2] + 1)
    quality = np.where(found, 0.6, 0.3)
    truth = GroundTruth(
        image_ids=tuple(range(1, images + 1)),
        class_names=tuple(f"class {number}" for number in range(1, _CLASSES + 1)),
        images=places,
        labels=labels,
        boxes=boxes,
        crowd=generator.random(objects) < 0.01,
    )
    table = DetectionTable(
        image_ids=truth.image_ids,
        class_names=truth.class_names,
        images=np.where(found, places[near], generator.integers(0, images, detections)),
        labels=np.where(found, labels[near], generator.choice(_CLASSES, detections, p=frequency)),
        boxes=np.where(found[:, np.newaxis], jittered.round(2), _boxes(generator, detections)),
        scores=np.clip(generator.normal(quality, 0.2), 0, 1).round(3),
    )
    return truth, table


def _boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    sides = np.exp(generator.uniform(np.log(8), np.log(300), (count, 2)))
    corners = generator.uniform(0, 1, (count, 2)) * (np.array(_SIZE) - sides).clip(0)
    return np.hstack([corners, corners + sides]).round(2)
