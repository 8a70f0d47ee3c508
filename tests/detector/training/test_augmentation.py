"""Random parts of training images."""

import numpy as np
import pytest
import torch

from detector.config import InputConfig
from detector.data.annotations import Annotations
from detector.training.examples import common_size, make_example
from detector.training.augmentation import FAINT, TrainingImage, crop_image, crop_proposals, mixup, mosaic, random_crop
from detector.training.recipes import AugmentationConfig, RandomCropConfig


def annotations(*boxes: tuple[float, ...]) -> Annotations:
    count = len(boxes)
    return Annotations(boxes, np.arange(count), np.zeros(count, bool), (100, 80))  # type: ignore[arg-type]


def test_parts_of_an_image_keep_their_objects():
    """The objects of a part are where its pixels say, and what is mostly outside is difficult."""
    pixels = np.full((80, 100, 3), 90, np.uint8)
    boxes = ((10.0, 10.0, 40.0, 50.0), (50.0, 20.0, 95.0, 70.0))
    for value, (x1, y1, x2, y2) in zip((200, 250), boxes, strict=True):
        pixels[int(y1) : int(y2), int(x1) : int(x2)] = value
    config = RandomCropConfig(probability=1.0, area=(0.1, 0.6))
    seen = {"whole": 0, "cut": 0, "difficult": 0, "sizes": set(), "left": set()}
    for seed in range(200):
        window = random_crop(100, 80, config, np.random.default_rng(seed))
        part, truth = crop_image(pixels, annotations(*boxes), window, 0.5)
        assert part.shape[:2] == truth.image_size[::-1]
        seen["sizes"].add(truth.image_size)
        for label, box, difficult in zip(truth.labels, truth.boxes.astype(int), truth.difficult, strict=True):
            x1, y1, x2, y2 = box
            assert (part[y1:y2, x1:x2] == (200, 250)[label]).all()
            assert (part == (200, 250)[label]).all(axis=2).sum() == (x2 - x1) * (y2 - y1)
            share = (x2 - x1) * (y2 - y1) / np.prod(np.subtract(boxes[label][2:], boxes[label][:2]))
            assert difficult == (share < 0.5)
            seen["whole" if share == 1 else "difficult" if difficult else "cut"] += 1
        areas = part.shape[0] * part.shape[1] / 8000
        assert 0.08 <= areas <= 0.62
    assert min(seen["whole"], seen["cut"], seen["difficult"]) > 10
    assert len(seen["sizes"]) > 50


def test_the_whole_image_without_parts():
    rng = np.random.default_rng(0)
    assert {random_crop(100, 80, RandomCropConfig(probability=0.0), rng) for _ in range(50)} == {(0, 0, 100, 80)}
    some = [random_crop(100, 80, RandomCropConfig(probability=0.5, area=(0.2, 0.5)), rng) for _ in range(200)]
    assert 60 < some.count((0, 0, 100, 80)) < 140


def test_proposals_of_a_part_by_hand():
    """The first is inside, most of the second is left, the third becomes the second, the others are mostly out."""
    boxes = [(30, 30, 50, 60), (10, 20, 50, 60), (12, 20, 50, 60), (0, 0, 100, 80), (10, 30, 22, 50), (0, 0, 10, 10)]
    found = crop_proposals(np.array(boxes, np.float32), (20, 20, 70, 60), 0.5)
    assert found.tolist() == [[0, 0, 30, 40], [10, 10, 30, 40]]


def test_proposals_go_with_the_part():
    """A region on the object stays on it: its pixels have the object's color."""
    pixels = np.full((80, 100, 3), 90, np.uint8)
    pixels[10:50, 10:40] = 200
    proposals = np.array([[10, 10, 40, 50], [60, 60, 90, 79]], np.float32)
    augmentation = AugmentationConfig(scale=(1.0, 1.0), random_crop=RandomCropConfig(1.0, (0.3, 0.8)), color_jitter=0.0)
    inputs = InputConfig(short_side=128)
    parts = 0
    whole = TrainingImage(pixels, proposals, annotations((10.0, 10.0, 40.0, 50.0)))
    for seed in range(40):
        rng = np.random.default_rng(seed)
        part = whole.crop(random_crop(100, 80, augmentation.random_crop, rng), augmentation.random_crop.overlap)
        example = make_example(part, common_size([part.size], inputs, 1.0), augmentation, rng)
        height, width = example.image.shape[1:]
        assert (example.regions >= 0).all()
        assert (example.regions <= torch.tensor([width, height, width, height]) + 1e-3).all()
        for box in example.objects:
            x1, y1, x2, y2 = (box + torch.tensor([2.0, 2.0, -2.0, -2.0])).int().tolist()
            inside = example.image[:, y1:y2, x1:x2].float()
            if inside.numel():
                assert inside.min() > 190
                parts += 1
        if len(example.objects) and not example.difficult[0]:
            same = (example.regions - example.objects[0]).abs().max(dim=1).values < 1e-3
            assert same.sum() >= 2  # the proposal and the object itself
    assert parts > 15


def test_four_images_put_together():
    """Each image's square is where its box says, none is stretched, and the proposals go with it."""
    images = []
    for value in (60, 120, 180, 240):
        pixels = np.zeros((80, 100, 3), np.uint8)
        pixels[20:60, 30:70] = value
        proposals = np.tile(np.array([[30, 20, 70, 60]], np.float32), (40, 1))
        images.append(TrainingImage(pixels, proposals, annotations((30.0, 20.0, 70.0, 60.0))))
    seen = 0
    for seed in range(30):
        together = mosaic(images, 0.5, np.random.default_rng(seed))
        assert together.size == together.annotations.image_size == (100, 80)
        for box, difficult in zip(together.annotations.boxes, together.annotations.difficult, strict=True):
            x1, y1, x2, y2 = box.round().astype(int)
            inside = together.pixels[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
            if difficult or not inside.size:
                continue
            assert inside.min() > 50
            if min(x1, y1) > 0 and 0.75 < (x2 - x1) / (y2 - y1) < 1.33:
                seen += 1
            same = np.abs(together.proposals - box).max(axis=1) < 1e-3
            assert same.sum() == 1  # all 40 are the object's box
    assert seen > 20


def test_two_images_mixed():
    """Both show through where their boxes say, at shares that add up to one; what is hardly seen is difficult."""
    rng = np.random.default_rng(0)

    def image(size: tuple[int, int], box: tuple[int, int, int, int], value: int, labels: list[int]) -> TrainingImage:
        """An object of that value, perhaps a difficult one beside it, and ten proposals inside the first."""
        x1, y1, x2, y2 = box
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[y1:y2, x1:x2] = value
        corners = rng.uniform((x1, y1, x2 - 5, y2 - 5), (x1 + 5, y1 + 5, x2, y2), (10, 4))
        boxes = np.array([box, (size[0] - 30, size[1] - 12, size[0] - 10, size[1])][: len(labels)], np.float32)
        return TrainingImage(
            pixels, corners.astype(np.float32), Annotations(boxes, labels, [False, True][: len(labels)], size)
        )  # type: ignore[arg-type]

    first, second = image((100, 80), (10, 10, 60, 60), 200, [3, 5]), image((60, 90), (20, 30, 35, 55), 250, [7])
    shares, faint, whole, halves = [], 0, 0, set()
    for seed in range(300):
        mixed = mixup(first, second, 0.5, np.random.default_rng(seed))
        boxes, difficult = mixed.annotations.boxes, mixed.annotations.difficult
        assert mixed.size == mixed.annotations.image_size == (100, 80)
        np.testing.assert_array_equal(boxes[:2], first.annotations.boxes)
        assert mixed.annotations.labels.tolist() in ([3, 5], [3, 5, 7])
        assert difficult[1]
        own = mixed.pixels[10:60, 10:60].min() / 200  # the second object cannot cover all of the first
        shares.append(1 - own)
        assert difficult[0] == (own < FAINT) or abs(own - FAINT) < 0.02
        kept = (mixed.proposals[:, None] == first.proposals).all(axis=2).any(axis=1)
        assert kept.sum() == 5
        halves.add(len(kept) - kept.sum())
        if len(boxes) < 3:
            continue
        for px1, py1, px2, py2 in mixed.proposals[~kept]:  # the second image shows its object there
            x, y = int((px1 + px2) / 2), int((py1 + py2) / 2)
            assert mixed.pixels[y, x, 0] / 250 >= 1 - own - 0.03
        x1, y1, x2, y2 = boxes[2]
        if x1 > 0 and y1 > 0 and x2 < 100 and y2 < 80:
            assert (x2 - x1) / (y2 - y1) == pytest.approx(0.6, rel=0.1)
            assert difficult[2] == (1 - own < FAINT) or abs(1 - own - FAINT) < 0.02
            whole += 1
            faint += difficult[2]
    assert max(halves) == 5
    assert whole > 20
    assert faint > 3
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert 0.052 < np.var(shares) < 0.073, "of Beta(1.5, 1.5) it is 1 / 16"
