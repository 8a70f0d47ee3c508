"""Selective Search finds the objects in a drawn image and two photos."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from proposals import SelectiveSearch, SelectiveSearchConfig

Boxes = np.ndarray
IoU = Callable[[Boxes, Boxes], np.ndarray]

# Boxes measured by hand, and the minimum IoU of the presets single and fast.
OBJECTS = {
    "cat": {
        "cat": ((0, 5, 451, 300), 0.95, 0.95),
        "left eye": ((133, 83, 209, 150), 0.7, 0.84),
        "right eye": ((293, 110, 343, 165), 0.8, 0.85),
        "nose": ((238, 226, 293, 265), 0.6, 0.78),
    },
    "astronaut": {
        "person": ((20, 12, 370, 512), 0.66, 0.87),
        "head": ((153, 15, 302, 190), 0.93, 0.95),
        "hair": ((153, 15, 302, 130), 0.92, 0.93),
        "helmet": ((278, 345, 500, 512), 0.9, 0.9),
        "collar": ((113, 148, 305, 295), 0.85, 0.9),
        "round patch": ((132, 346, 210, 424), 0.94, 0.94),
        "name tag": ((279, 339, 330, 378), 0.76, 0.9),
        "space shuttle": ((355, 0, 470, 290), 0.55, 0.7),
    },
}


def test_every_drawn_object_is_found(scene: tuple[np.ndarray, Boxes], iou: IoU) -> None:
    image, objects = scene
    found = SelectiveSearch()(image)
    assert iou(objects, found.boxes).max(axis=1).min() >= 0.7
    assert 100 < len(found) < 1500


@pytest.mark.parametrize("column", [1, 2], ids=["single", "fast"])
@pytest.mark.parametrize("name", OBJECTS)
def test_objects_of_photos_are_found(photos: Path, iou: IoU, name: str, column: int) -> None:
    image = np.asarray(Image.open(photos / f"{name}.jpg").convert("RGB"))
    found = SelectiveSearch(SelectiveSearchConfig.preset(("single", "fast")[column - 1]))(image)
    for thing, row in OBJECTS[name].items():
        assert iou(np.array([row[0]], np.float32), found.boxes).max() >= row[column], thing


def test_more_strategies_find_more(photos: Path, iou: IoU) -> None:
    image = np.asarray(Image.open(photos / "astronaut.jpg").convert("RGB"))
    objects = np.array([box for box, *_ in OBJECTS["astronaut"].values()], np.float32)
    single, fast, quality = (
        SelectiveSearch(SelectiveSearchConfig.preset(name))(image) for name in ("single", "fast", "quality")
    )
    # The paper has 362, 2,147 and 10,108 boxes an image.
    assert 200 < len(single) < len(fast) / 4
    assert 1500 < len(fast) < len(quality) / 3
    assert len(quality) < 20_000
    assert iou(objects, quality.boxes).max(axis=1).mean() > 0.9
