import numpy as np
import pytest

from detector.data.ground_truth import GroundTruth


@pytest.fixture
def truth() -> GroundTruth:
    """Three images of 100x80 with numbers for ids, two classes with COCO's category ids."""
    return GroundTruth(
        image_ids=(11, 12, 13),
        class_names=("cat", "traffic light"),
        class_ids=(17, 10),
        images=np.array([0, 0, 2]),
        labels=np.array([0, 1, 0]),
        boxes=np.array([[0, 0, 9, 9], [10, 10, 30, 30], [5, 5, 50, 50]]),
        image_sizes=np.full((3, 2), [100, 80]),
        files=("a.jpg", "sub/b.jpg", "c.png"),
    )
