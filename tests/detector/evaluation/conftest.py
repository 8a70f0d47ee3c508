from collections.abc import Callable

import numpy as np
import pytest

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from tests.detector.evaluation.tables import table_of, truth_of


@pytest.fixture(scope="session")
def random_data() -> Callable[..., tuple[GroundTruth, DetectionTable]]:
    """Objects far apart, so that no detection overlaps two, with detections near them, doubled, confused and astray."""

    def make(seed: int, images: int = 60, classes: int = 4, difficult: float = 0.0) -> tuple:
        rng = np.random.default_rng(seed)
        objects, found = [], []
        for image in range(images):
            for cell in rng.permutation(9)[: rng.integers(0, 5)]:
                corner = np.array([cell % 3, cell // 3]) * 100 + rng.uniform(0, 10, 2)
                size = rng.uniform(30, 80, 2)
                label, box = int(rng.integers(classes)), np.concatenate([corner, corner + size])
                objects.append((image, label, box))
                for _ in range(rng.integers(0, 4)):
                    moved = box + rng.normal(0, rng.choice([0.05, 0.15, 0.4]), 4) * np.tile(size, 2)
                    moved[2:] = np.maximum(moved[2:], moved[:2] + 3)
                    given = label if rng.random() < 0.7 else int(rng.integers(classes))
                    found.append((image, given, rng.random(), moved))
            for _ in range(rng.integers(0, 3)):
                corner = rng.uniform(0, 300, 2)
                box = np.concatenate([corner, corner + np.array([40, 30])])
                found.append((image, int(rng.integers(classes)), rng.random(), box))
        hard = np.random.default_rng(seed).random(len(objects)) < difficult
        names = [f"c{label}" for label in range(classes)]
        truth = truth_of(*objects, images=images, names=names, difficult=hard)
        return truth, table_of(truth, *found)

    return make
