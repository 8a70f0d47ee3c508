from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from proposals import Proposals
from proposals.evaluation import iou_matrix


@pytest.fixture(scope="session")
def photo(photos: Path) -> np.ndarray:
    """A photo of 451x300 pixels, RGB."""
    return np.asarray(Image.open(photos / "cat.jpg").convert("RGB"))


@pytest.fixture(scope="session")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A drawn image of 400x300 pixels and the boxes of its five objects.

    Four of the objects consist of parts that differ more from each other than from the background: no
    single segmentation has them as one region.
    """
    image = np.full((300, 400, 3), (110, 140, 90), np.uint8)
    cv2.rectangle(image, (40, 60), (89, 119), (200, 60, 60), -1)
    cv2.rectangle(image, (50, 120), (79, 199), (60, 60, 190), -1)
    for x in range(150, 250, 10):
        image[40:110, x : x + 5] = 220
        image[40:110, x + 5 : x + 10] = 30
    cv2.circle(image, (320, 90), 45, (230, 190, 40), -1)
    cv2.circle(image, (320, 90), 20, (40, 120, 200), -1)
    cv2.ellipse(image, (200, 220), (70, 40), 0, 0, 360, (150, 110, 160), -1)
    image[190:270, 310:380] = (60, 170, 160)
    image[190:270:8, 310:380] = (30, 80, 140)
    noise = np.random.default_rng(5).normal(0, 6, image.shape)
    boxes = [(40, 60, 90, 200), (150, 40, 250, 110), (275, 45, 366, 136), (130, 180, 271, 261), (310, 190, 380, 270)]
    return np.clip(image + noise, 0, 255).astype(np.uint8), np.array(boxes, np.float32)


@pytest.fixture(scope="session")
def iou() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Intersection over union of (A, 4) and (B, 4) boxes with exclusive ends, as (A, B)."""
    return iou_matrix


@pytest.fixture(scope="session")
def assert_equal() -> Callable[[Proposals, Proposals], None]:
    """Compares two results of a proposer to the last bit."""

    def compare(a: Proposals, b: Proposals) -> None:
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.sources, b.sources)
        assert a.source_names == b.source_names
        assert a.image_size == b.image_size

    return compare
