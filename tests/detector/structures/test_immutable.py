"""Read-only arrays stay read-only through pickle and copies."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detector.data.annotations import Annotations
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.traces import ObjectTraces
from detector.structures.detections import Detections
from proposals import Proposals

BOX = np.array([[1, 2, 3, 4]], np.float32)
COLUMNS = {"image_ids": ("a",), "class_names": ("cat",), "images": [0], "labels": [0], "boxes": BOX}
VALUES = [
    Proposals(BOX, np.ones(1, np.float32), np.zeros(1, np.int16), ("x",), (9, 9)),
    Detections(BOX, [0.5], [0], ("cat",), (9, 9)),
    Annotations(BOX, [0], [False], (9, 9)),
    GroundTruth(**COLUMNS),
    DetectionTable(**COLUMNS, scores=[0.5]),
    ObjectTraces(proposal_overlaps=[0.5], sources=[0], source_names=("x",), region_scores=[0.5]),
]


@pytest.mark.parametrize("copy_of", [lambda v: v, lambda v: pickle.loads(pickle.dumps(v)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_arrays_are_read_only(value: Any, copy_of: Callable[[Any], Any]):
    copied = copy_of(value)
    assert type(copied) is type(value)
    for field in dataclasses.fields(value):
        old, new = getattr(value, field.name), getattr(copied, field.name)
        np.testing.assert_array_equal(new, old)
        if isinstance(old, np.ndarray):
            assert new.dtype == old.dtype
            with pytest.raises(ValueError, match="read-only"):
                new[:] = 0
