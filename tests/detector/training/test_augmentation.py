"""Augmentation: random crops, mosaic, mixup, and the crops of classification."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config import InputConfig
from detector.data.annotations import Annotations
from detector.training.augmentation import (
    FAINT,
    INTERPOLATIONS,
    TrainingImage,
    crop_image,
    crop_proposals,
    erase,
    mixup,
    mosaic,
    random_crop,
    random_resized_crop,
    random_resized_window,
)
from detector.training.examples import common_size, make_example
from detector.training.recipes import AugmentationConfig, RandomCropConfig, RandomResizedCropConfig

PLAIN = RandomResizedCropConfig(color_jitter=0)


def annotations(*boxes: tuple[float, ...]) -> Annotations:
    count = len(boxes)
    return Annotations(boxes, np.arange(count), np.zeros(count, bool), (100, 80))  # type: ignore[arg-type]


def test_crops_keep_their_objects():
    """The objects of a crop are where its pixels say, and an object that is mostly outside is difficult."""
    pixels = np.full((80, 100, 3), 90, np.uint8)
    boxes = ((10.0, 10.0, 40.0, 50.0), (50.0, 20.0, 95.0, 70.0))
    for value, (x1, y1, x2, y2) in zip((200, 250), boxes, strict=True):
        pixels[int(y1) : int(y2), int(x1) : int(x2)] = value
    config = RandomCropConfig(probability=1.0, area=(0.1, 0.6))
    counts, sizes = {"whole": 0, "cropped": 0, "difficult": 0}, set()
    for seed in range(200):
        window = random_crop(100, 80, config, np.random.default_rng(seed))
        crop, objects = crop_image(pixels, annotations(*boxes), window, 0.5)
        assert crop.shape[:2] == objects.image_size[::-1]
        assert 0.08 <= crop.shape[0] * crop.shape[1] / 8000 <= 0.62
        sizes.add(objects.image_size)
        for label, box, difficult in zip(objects.labels, objects.boxes.astype(int), objects.difficult, strict=True):
            x1, y1, x2, y2 = box
            area, value = (x2 - x1) * (y2 - y1), (200, 250)[label]
            assert (crop[y1:y2, x1:x2] == value).all()
            assert (crop == value).all(axis=2).sum() == area
            remaining = area / np.prod(np.subtract(boxes[label][2:], boxes[label][:2]))
            assert difficult == (remaining < 0.5)
            counts["whole" if remaining == 1 else "difficult" if difficult else "cropped"] += 1
    assert min(counts.values()) > 10
    assert len(sizes) > 50


def test_the_probability_of_a_crop():
    rng = np.random.default_rng(0)
    assert {random_crop(100, 80, RandomCropConfig(probability=0.0), rng) for _ in range(50)} == {(0, 0, 100, 80)}
    windows = [random_crop(100, 80, RandomCropConfig(probability=0.5, area=(0.2, 0.5)), rng) for _ in range(200)]
    assert 60 < windows.count((0, 0, 100, 80)) < 140


def test_proposals_of_a_crop_by_hand():
    """The first is inside, most of the second remains, the third becomes the second, the rest are mostly outside."""
    boxes = [(30, 30, 50, 60), (10, 20, 50, 60), (12, 20, 50, 60), (0, 0, 100, 80), (10, 30, 22, 50), (0, 0, 10, 10)]
    cropped = crop_proposals(np.array(boxes, np.float32), (20, 20, 70, 60), 0.5)
    assert cropped.tolist() == [[0, 0, 30, 40], [10, 10, 30, 40]]


def test_regions_and_objects_follow_the_crop():
    """A region on the object stays on it: its pixels have the object's color."""
    pixels = np.full((80, 100, 3), 90, np.uint8)
    pixels[10:50, 10:40] = 200
    proposals = np.array([[10, 10, 40, 50], [60, 60, 90, 79]], np.float32)
    crop = RandomCropConfig(1.0, (0.3, 0.8))
    augmentation = AugmentationConfig(scale=(1.0, 1.0), random_crop=crop, color_jitter=0.0)
    whole, checked = TrainingImage(pixels, proposals, annotations((10.0, 10.0, 40.0, 50.0))), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        image = whole.crop(random_crop(100, 80, crop, rng), crop.overlap)
        example = make_example(image, common_size([image.size], InputConfig(short_side=128), 1.0), augmentation, rng)
        width, height = example.size
        assert (example.regions >= 0).all()
        assert (example.regions <= torch.tensor([width, height, width, height]) + 1e-3).all()
        for box in example.objects:
            x1, y1, x2, y2 = (box + torch.tensor([2.0, 2.0, -2.0, -2.0])).int().tolist()
            inside = example.image[:, y1:y2, x1:x2].float()
            if inside.numel():
                assert inside.min() > 190
                checked += 1
        if len(example.objects) and not example.difficult[0]:
            same = (example.regions - example.objects[0]).abs().max(dim=1).values < 1e-3
            assert same.sum() >= 2  # the proposal and the object itself
    assert checked > 15


def test_mosaic():
    """Each image's square is where its box says, none is stretched, and the proposals move with it."""
    images = []
    for value in (60, 120, 180, 240):
        pixels = np.zeros((80, 100, 3), np.uint8)
        pixels[20:60, 30:70] = value
        proposals = np.tile(np.array([[30, 20, 70, 60]], np.float32), (40, 1))
        images.append(TrainingImage(pixels, proposals, annotations((30.0, 20.0, 70.0, 60.0))))
    squares = 0
    for seed in range(30):
        image = mosaic(images, (200, 160), 0.5, np.random.default_rng(seed))
        assert image.size == image.annotations.image_size == (200, 160)
        for box, difficult in zip(image.annotations.boxes, image.annotations.difficult, strict=True):
            x1, y1, x2, y2 = box.round().astype(int)
            inside = image.pixels[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
            if difficult or not inside.size:
                continue
            assert inside.min() > 50
            squares += min(x1, y1) > 0 and 0.75 < (x2 - x1) / (y2 - y1) < 1.33
            same = np.abs(image.proposals - box).max(axis=1) < 1e-3
            assert same.sum() == 1  # all 40 are the object's box
    assert squares > 20


def test_mixup():
    """Both images show where their boxes say, at ratios that add up to one; a faint object is difficult."""
    rng = np.random.default_rng(0)

    def image(size: tuple[int, int], box: tuple[int, int, int, int], value: int, labels: list[int]) -> TrainingImage:
        """An object of that value, perhaps a difficult one beside it, and ten proposals inside the first."""
        x1, y1, x2, y2 = box
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[y1:y2, x1:x2] = value
        corners = rng.uniform((x1, y1, x2 - 5, y2 - 5), (x1 + 5, y1 + 5, x2, y2), (10, 4))
        boxes = np.array([box, (size[0] - 30, size[1] - 12, size[0] - 10, size[1])][: len(labels)], np.float32)
        objects = Annotations(boxes, labels, [False, True][: len(labels)], size)  # type: ignore[arg-type]
        return TrainingImage(pixels, corners.astype(np.float32), objects)

    first, second = image((100, 80), (10, 10, 60, 60), 200, [3, 5]), image((60, 90), (20, 30, 35, 55), 250, [7])
    ratios, faint, uncropped, kept_of_second = [], 0, 0, set()
    for seed in range(300):
        mixed = mixup(first, second, 0.5, np.random.default_rng(seed))
        boxes, difficult = mixed.annotations.boxes, mixed.annotations.difficult
        assert mixed.size == mixed.annotations.image_size == (100, 80)
        np.testing.assert_array_equal(boxes[:2], first.annotations.boxes)
        assert mixed.annotations.labels.tolist() in ([3, 5], [3, 5, 7])
        assert difficult[1]
        weight = mixed.pixels[10:60, 10:60].min() / 200  # of the first; the second cannot cover all of its object
        ratios.append(1 - weight)
        assert difficult[0] == (weight < FAINT) or abs(weight - FAINT) < 0.02
        of_first = (mixed.proposals[:, None] == first.proposals).all(axis=2).any(axis=1)
        assert of_first.sum() == 5
        kept_of_second.add(len(of_first) - of_first.sum())
        if len(boxes) < 3:
            continue
        for px1, py1, px2, py2 in mixed.proposals[~of_first]:  # the second image shows its object there
            x, y = int((px1 + px2) / 2), int((py1 + py2) / 2)
            assert mixed.pixels[y, x, 0] / 250 >= 1 - weight - 0.03
        x1, y1, x2, y2 = boxes[2]
        if x1 > 0 and y1 > 0 and x2 < 100 and y2 < 80:
            assert (x2 - x1) / (y2 - y1) == pytest.approx(0.6, rel=0.1)
            assert difficult[2] == (1 - weight < FAINT) or abs(1 - weight - FAINT) < 0.02
            uncropped += 1
            faint += difficult[2]
    assert max(kept_of_second) == 5
    assert uncropped > 20
    assert faint > 3
    assert np.mean(ratios) == pytest.approx(0.5, abs=0.04)
    assert 0.052 < np.var(ratios) < 0.073, "Beta(1.5, 1.5) has 1 / 16"


def windows(width: int, height: int, count: int, config: RandomResizedCropConfig = PLAIN) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([random_resized_window(width, height, config, rng) for _ in range(count)])


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_resized_crop_keeps_to_its_bounds(width: int, height: int, seed: int):
    """Area 8 to 100 % and aspect ratio 3/4 to 4/3, up to the rounding of its sides; or the largest centered square."""
    x1, y1, x2, y2 = random_resized_window(width, height, PLAIN, np.random.default_rng(seed))
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    w, h, side = x2 - x1, y2 - y1, min(width, height)
    if (x1, y1, w, h) != ((width - side) // 2, (height - side) // 2, side, side):
        assert (w + 0.5) * (h + 0.5) >= 0.08 * width * height
        assert (w + 0.5) / max(0.5, h - 0.5) >= 3 / 4
        assert (w - 0.5) / (h + 0.5) <= 4 / 3


@pytest.mark.parametrize("size", [(500, 375), (300, 400), (256, 256)])
def test_resized_crops_cover_both_ranges_and_all_positions(size: tuple[int, int]):
    width, height = size
    x1, y1, x2, y2 = windows(*size, 3000).T
    w, h = x2 - x1, y2 - y1
    area, aspect = w * h / (width * height), w / h
    assert (area.min(), area.max()) == (pytest.approx(0.08, abs=0.01), pytest.approx(1, abs=0.03))
    assert (aspect.min(), aspect.max()) == (pytest.approx(3 / 4, abs=0.01), pytest.approx(4 / 3, abs=0.01))
    assert (x1.min(), y1.min(), x2.max(), y2.max()) == (0, 0, width, height)
    small = area < 0.4  # all of these fit, so none was rejected
    assert area[small].mean() == pytest.approx(0.24, abs=0.01)
    assert aspect[small].mean() == pytest.approx((3 / 4 + 4 / 3) / 2, abs=0.02)
    assert abs(np.corrcoef(area[small], aspect[small])[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("size", "window", "config"),
    [
        ((2000, 20), (990, 0, 1010, 20), PLAIN),  # long images give their centered square
        ((9, 1000), (0, 495, 9, 504), PLAIN),
        ((400, 300), (0, 0, 400, 300), RandomResizedCropConfig(area=(1.0, 1.0), aspect=(4 / 3, 4 / 3))),
    ],
)
def test_resized_crops_without_a_choice(size, window, config):
    assert {tuple(w) for w in windows(*size, 50, config)} == {window}


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [8, 224])
def test_all_interpolations_are_used_and_half_of_the_crops_flipped(size: int):
    """Each crop equals one of the eight that its window can give."""
    image, counts, flips = noise(), dict.fromkeys(INTERPOLATIONS, 0), 0
    for seed in range(200):
        x1, y1, x2, y2 = random_resized_window(120, 90, PLAIN, np.random.default_rng(seed))
        crop = random_resized_crop(image, size, PLAIN, np.random.default_rng(seed))
        resized = {n: cv2.resize(image[y1:y2, x1:x2], (size, size), interpolation=i) for n, i in INTERPOLATIONS.items()}
        plain = [name for name, candidate in resized.items() if np.array_equal(crop, candidate)]
        flipped = [name for name, candidate in resized.items() if np.array_equal(crop, candidate[:, ::-1])]
        counts[(plain or flipped)[0]] += 1
        flips += bool(flipped)
    assert min(counts.values()) >= 25, counts
    assert flips / 200 == pytest.approx(0.5, abs=0.1)


def test_color_jitter_keeps_the_content():
    """The crop becomes brighter or darker, with more or less contrast and color."""
    image = np.full((50, 60, 3), (180, 100, 40), np.uint8)
    colors = []
    for seed in range(50):
        crop = random_resized_crop(image, 8, RandomResizedCropConfig(color_jitter=0.4), np.random.default_rng(seed))
        assert (crop == crop[0, 0]).all()
        colors.append(crop[0, 0].astype(int))
    colors = np.array(colors)
    assert (colors.argmax(axis=1) == 0).all()
    assert colors.mean(axis=1).min() < 90 < 125 < colors.mean(axis=1).max()
    spread = colors[:, 0] - colors[:, 2]
    assert spread.max() > 1.3 * spread.min()


@pytest.mark.parametrize(
    "values", [{"area": (0.5, 0.1)}, {"area": (0.5, 1.1)}, {"aspect": (2.0, 1.0)}, {"interpolations": ()}]
)
def test_wrong_settings(values: dict):
    with pytest.raises(ValueError, match=next(iter(values))):
        RandomResizedCropConfig(**values)


def test_erased_rectangles_are_few_and_small():
    pixels = np.full((40, 100, 3), 44, np.uint8)
    shares = [(erase(pixels, 3, np.random.default_rng(seed)) != pixels).any(axis=2).mean() for seed in range(50)]
    assert min(shares) == 0
    assert 0.02 < max(shares) <= 3 * 0.2**2
    assert np.array_equal(erase(pixels, 0, np.random.default_rng(0)), pixels)
    assert (pixels == 44).all()
