"""Random patches: where they lie, what shape they have, how they are resized."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.training.augmentation import INTERPOLATIONS, random_resized_window, random_resized_crop
from detector.training.recipes import RandomResizedCropConfig

PLAIN = RandomResizedCropConfig(color_jitter=0)
SIDES = st.integers(1, 3000)


def draws(width: int, height: int, count: int, config: RandomResizedCropConfig = PLAIN) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([random_resized_window(width, height, config, rng) for _ in range(count)])


@given(SIDES, SIDES, st.integers(0, 2**32))
@settings(deadline=None)
def test_it_lies_inside_and_keeps_to_its_bounds(width: int, height: int, seed: int):
    """Area 8 to 100 % and aspect 3/4 to 4/3, up to the rounding of its sides; or the largest centerd square."""
    x, y, w, h = random_resized_window(width, height, PLAIN, np.random.default_rng(seed))
    assert 0 <= x <= x + w <= width
    assert 0 <= y <= y + h <= height
    assert min(w, h) >= 1
    side = min(width, height)
    if (x, y, w, h) != ((width - side) // 2, (height - side) // 2, side, side):
        assert (w + 0.5) * (h + 0.5) >= 0.08 * width * height
        assert (w + 0.5) / max(0.5, h - 0.5) >= 3 / 4
        assert (w - 0.5) / (h + 0.5) <= 4 / 3


@pytest.mark.parametrize("size", [(500, 375), (300, 400), (256, 256)])
def test_all_of_both_ranges_and_every_place_are_drawn(size: tuple[int, int]):
    """The patches reach all the edges, and their areas and aspects all of what fits into the image."""
    width, height = size
    x, y, w, h = draws(*size, 3000).T
    area, aspect = w * h / (width * height), w / h
    assert (area.min(), area.max()) == (pytest.approx(0.08, abs=0.01), pytest.approx(1, abs=0.03))
    assert (aspect.min(), aspect.max()) == (pytest.approx(3 / 4, abs=0.01), pytest.approx(4 / 3, abs=0.01))
    assert (x.min(), y.min()) == (0, 0)
    assert ((x + w).max(), (y + h).max()) == (width, height)
    small = area < 0.4  # all of these fit, and so are as they were drawn
    assert area[small].mean() == pytest.approx(0.24, abs=0.01)
    assert aspect[small].mean() == pytest.approx((3 / 4 + 4 / 3) / 2, abs=0.02)
    assert abs(np.corrcoef(area[small], aspect[small])[0, 1]) < 0.1


@pytest.mark.parametrize(("size", "square"), [((2000, 20), (990, 0, 20, 20)), ((9, 1000), (0, 495, 9, 9))])
def test_elongated_images_give_their_centerd_square(size: tuple[int, int], square: tuple[int, ...]):
    assert {tuple(patch) for patch in draws(*size, 50)} == {square}


def test_own_bounds():
    patches = draws(400, 400, 300, RandomResizedCropConfig(area=(0.25, 0.25), aspect=(1.0, 1.0)))
    assert (patches[:, 2:] == 200).all()
    assert (
        draws(400, 300, 20, RandomResizedCropConfig(area=(1.0, 1.0), aspect=(4 / 3, 4 / 3))) == [0, 0, 400, 300]
    ).all()


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("config", [PLAIN, RandomResizedCropConfig()], ids=["plain", "distorted"])
def test_the_random_numbers_decide(config: RandomResizedCropConfig):
    first, again, other = (random_resized_crop(noise(), 32, config, np.random.default_rng((7, s))) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first.shape, first.dtype) == ((32, 32, 3), np.uint8)


@pytest.mark.parametrize("size", [8, 224])
def test_all_interpolations_are_used_and_half_are_mirrored(size: int):
    """Each patch is found again among the eight that its part of the image can give."""
    image, counts = noise(), dict.fromkeys(INTERPOLATIONS, 0)
    mirrored = 0
    for seed in range(200):
        x, y, w, h = random_resized_window(120, 90, PLAIN, np.random.default_rng(seed))
        patch = random_resized_crop(image, size, PLAIN, np.random.default_rng(seed))
        resized = {
            name: cv2.resize(image[y : y + h, x : x + w], (size, size), interpolation=flag)
            for name, flag in INTERPOLATIONS.items()
        }
        plain = [name for name, candidate in resized.items() if np.array_equal(patch, candidate)]
        turned = [name for name, candidate in resized.items() if np.array_equal(patch, candidate[:, ::-1])]
        assert plain or turned, f"patch {seed} comes from elsewhere"
        counts[(plain or turned)[0]] += 1
        mirrored += bool(turned)
    assert min(counts.values()) >= 25, counts
    assert mirrored / 200 == pytest.approx(0.5, abs=0.1)


def test_one_interpolation_can_be_chosen():
    config = RandomResizedCropConfig(
        area=(1.0, 1.0), aspect=(4 / 3, 4 / 3), color_jitter=0, interpolations=("nearest",)
    )
    image = noise()
    small = cv2.resize(image, (40, 40), interpolation=cv2.INTER_NEAREST)
    for seed in range(10):
        patch = random_resized_crop(image, 40, config, np.random.default_rng(seed))
        assert np.array_equal(patch, small) or np.array_equal(patch, small[:, ::-1])


def test_colors_change_in_place():
    """The same patch, brighter or darker, with more or less contrast and color."""
    image = np.full((50, 60, 3), (180, 100, 40), np.uint8)
    colors = []
    for seed in range(50):
        patch = random_resized_crop(image, 8, RandomResizedCropConfig(color_jitter=0.4), np.random.default_rng(seed))
        assert (patch == patch[0, 0]).all()
        colors.append(patch[0, 0].astype(int))
    colors = np.array(colors)
    assert (colors.argmax(axis=1) == 0).all()
    assert colors.mean(axis=1).min() < 90 < 125 < colors.mean(axis=1).max()
    spread = colors[:, 0] - colors[:, 2]
    assert spread.max() > 1.3 * spread.min()


@pytest.mark.parametrize(
    "values", [{"area": (0.5, 0.1)}, {"area": (0.5, 1.1)}, {"aspect": (2.0, 1.0)}, {"interpolations": ()}]
)
def test_wrong_settings(values: dict):
    with pytest.raises(ValueError, match="area and aspect are"):
        RandomResizedCropConfig(**values)
