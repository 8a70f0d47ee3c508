from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.annotations import Annotations, Sample
from detector.data.custom_dataset import CustomDataset

Objects = Sequence[tuple[int, tuple[int, int, int, int]]]


@pytest.fixture
def custom_dataset(tmp_path: Path) -> Callable[..., CustomDataset]:
    """Makes data of 120x90 pixels from the objects of each photo; class 0 is red, class 1 blue, class 2 green.

    The photos are gray with noise, each as a PNG.
    """

    def make(
        photos: Sequence[Objects], names: Sequence[str] = ("bus", "robot"), val: Sequence[str] = ()
    ) -> CustomDataset:
        folder = tmp_path / "photos"
        folder.mkdir(exist_ok=True)
        samples = []
        for number, objects in enumerate(photos):
            pixels = np.random.default_rng(number).integers(90, 150, (90, 120, 3), dtype=np.uint8)
            for label, (x1, y1, x2, y2) in objects:
                pixels[y1:y2, x1:x2] = ((220, 30, 30), (30, 60, 220), (30, 220, 60))[label]
            path = folder / f"{number:03d}.png"
            Image.fromarray(pixels).save(path)
            boxes = np.array([box for _, box in objects], np.float32)
            annotations = Annotations(boxes, [label for label, _ in objects], [False] * len(objects), (120, 90))
            samples.append(Sample(path.name, path, annotations))
        return CustomDataset(folder, "voc", tuple(names), tuple(samples), frozenset(val))

    return make
