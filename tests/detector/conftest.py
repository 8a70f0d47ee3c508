from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor, nn

from detector.data.annotations import Annotations, Sample
from detector.data.custom_dataset import CustomDataset
from detector.models.backbone import Backbone
from tests.detector.run_tools import Runs, make_clip

Objects = Sequence[tuple[int, tuple[int, int, int, int]]]


class TinyBackbone(Backbone):
    """One convolution at stride 8 and a ReLU, so that tests are quick."""

    out_channels, stride, offset = 6, 8, 4.0
    mean, std = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, self.out_channels, 8, stride=8)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu()


@pytest.fixture
def tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> type[TinyBackbone]:
    """The backbone of every `RCNN` that the test makes or loads, in place of GoogLeNet."""
    monkeypatch.setattr("detector.models.rcnn.make_backbone", lambda name: TinyBackbone())
    torch.manual_seed(0)
    return TinyBackbone


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """In a folder with a/x.jpg (90x60), b/x.jpg and b/y.png (60x40), and clip.avi (64x48, 10 frames, 5 a second)."""
    monkeypatch.chdir(tmp_path)
    for name, size in (("a/x.jpg", (90, 60)), ("b/x.jpg", (60, 40)), ("b/y.png", (60, 40))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PillowImage.new("RGB", size, (40, 90, 160)).save(tmp_path / name)
    make_clip("clip.avi")
    return Runs()


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
            PillowImage.fromarray(pixels).save(path)
            boxes = np.array([box for _, box in objects], np.float32)
            annotations = Annotations(boxes, [label for label, _ in objects], [False] * len(objects), (120, 90))
            samples.append(Sample(path.name, path, annotations))
        return CustomDataset(folder, "voc", tuple(names), tuple(samples), frozenset(val))

    return make
