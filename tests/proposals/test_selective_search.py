import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import proposals
from proposals import SelectiveSearch, SelectiveSearchConfig
from proposals.config import COLOR_SPACES, ColorSpace
from proposals.selective_search import ALGORITHM_VERSION

Boxes = np.ndarray
IoU = Callable[[Boxes, Boxes], np.ndarray]

DIGEST = """
import hashlib, sys
import numpy as np
from proposals import SelectiveSearch
found = SelectiveSearch()(np.load(sys.argv[1]))
print(hashlib.sha256(found.boxes.tobytes() + found.scores.tobytes() + found.sources.tobytes()).hexdigest())
"""


def strategy(space: str = "HSV", similarity: str = "CTSF", k: float = 100, **changes: Any) -> SelectiveSearchConfig:
    return SelectiveSearchConfig(color_spaces=(space,), similarities=(similarity,), ks=(k,), **changes)  # type: ignore[arg-type]


def as_set(boxes: Boxes) -> set[tuple[float, ...]]:
    return set(map(tuple, boxes.tolist()))


def test_the_rank_is_the_position_times_a_random_number(photo: np.ndarray) -> None:
    search = SelectiveSearch(strategy(k=30, minimum_box_side=1))
    found, hierarchy = search(photo), search.hierarchies(photo)[0]
    positions: dict[tuple[int, ...], list[int]] = {}
    for position, box in enumerate(map(tuple, hierarchy.boxes[::-1].tolist()), start=1):
        positions.setdefault(box, []).append(position)
    factors = []
    for box, score in zip(map(tuple, found.boxes.tolist()), found.scores.tolist(), strict=True):
        value = 1 / score - 1
        assert 0 < value <= positions[box][-1] * 1.001
        if len(positions[box]) == 1:
            factors.append(value / positions[box][0])
    assert len(factors) > 200
    # Evenly from 0 to 1.
    np.testing.assert_allclose(np.percentile(factors, (10, 50, 90)), (0.1, 0.5, 0.9), atol=0.1)


def test_boxes_change_only_with_the_version() -> None:
    # The version is part of the fingerprint that caches use: increase it if boxes change on purpose.
    y, x = np.indices((90, 130))
    image = np.dstack([(x * x + 3 * y) // 40 % 256, x * y // 50 % 256, (x // 30 * 90 + y // 25 * 40) % 256])
    config = SelectiveSearchConfig(COLOR_SPACES, ("CTSF", "S"), (30, 60), working_width=100, minimum_box_side=5)
    found = SelectiveSearch(config)(image.astype(np.uint8))
    content = found.boxes.tobytes() + found.scores.tobytes() + found.sources.tobytes()
    assert (ALGORITHM_VERSION, hashlib.sha256(content).hexdigest()[:16]) == (4, "819b98a1351f6a07")


def test_the_boxes_are_those_of_all_strategies(photo: np.ndarray) -> None:
    image = photo[:150, :220]
    config = SelectiveSearchConfig(("rgI", "C"), ("TS", "F"), (30, 80), minimum_box_side=5)
    alone = [
        as_set(SelectiveSearch(strategy(space, similarity, k, minimum_box_side=5))(image).boxes)
        for space in config.color_spaces
        for k in config.ks
        for similarity in config.similarities
    ]
    found = SelectiveSearch(config)(image)
    assert as_set(found.boxes) == set().union(*alone)
    for source, boxes in enumerate(alone):
        assert as_set(found.boxes[found.sources == source]) <= boxes


@pytest.mark.parametrize("space", COLOR_SPACES)
def test_every_color_space_finds_drawn_objects(scene: tuple[np.ndarray, Boxes], iou: IoU, space: ColorSpace) -> None:
    image, objects = scene
    found = SelectiveSearch(SelectiveSearchConfig(color_spaces=(space,)))(image)
    assert set(found.sources.tolist()) == set(range(4))
    # Some of the objects differ from the background by their hue, others by their lightness alone.
    assert (iou(objects, found.boxes).max(axis=1) > 0.7).sum() >= (4 if space in ("I", "rgI") else 5)


def test_threads_do_not_change_the_result(photo: np.ndarray, assert_equal: Callable) -> None:
    expected, search = SelectiveSearch()(photo), SelectiveSearch(threads=2)
    with ThreadPoolExecutor(2) as pool:  # one object serves several threads at once
        for found in pool.map(search, [photo] * 3):
            assert_equal(found, expected)


@pytest.mark.slow
def test_another_process_on_another_processor_gives_the_same(photo: np.ndarray, tmp_path: Path) -> None:
    # The child process compiles for a generic processor and disables OpenCV's faster variants.
    np.save(tmp_path / "photo.npy", photo)
    environment = os.environ | {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "PYTHONHASHSEED": "17",
        "PYTHONPATH": str(Path(proposals.__file__).parents[1]),
    }
    if platform.machine() in ("x86_64", "AMD64"):
        environment["OPENCV_CPU_DISABLE"] = "AVX512_SKX,AVX2,FP16,AVX"
    command = [sys.executable, "-c", DIGEST, str(tmp_path / "photo.npy")]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    here = SelectiveSearch()(photo)
    content = here.boxes.tobytes() + here.scores.tobytes() + here.sources.tobytes()
    assert output.split()[-1] == hashlib.sha256(content).hexdigest()


def test_the_seed_changes_the_order_and_nothing_else(photo: np.ndarray, assert_equal: Callable) -> None:
    first, again, other = (SelectiveSearch(strategy(seed=seed))(photo) for seed in (1, 1, 2))
    assert_equal(first, again)
    assert first.boxes.tolist() != other.boxes.tolist()
    assert as_set(first.boxes) == as_set(other.boxes)


@pytest.mark.parametrize(
    ("moved", "corners", "factors"),
    [
        (lambda image: image[:, ::-1], [2, 1, 0, 3], (-1, 1)),
        (lambda image: image[::-1], [0, 3, 2, 1], (1, -1)),
        (lambda image: image.transpose(1, 0, 2), [1, 0, 3, 2], (1, 1)),
    ],
    ids=["mirrored", "upside_down", "transposed"],
)
def test_a_turned_image_gives_turned_boxes(
    photo: np.ndarray, iou: IoU, moved: Callable[[np.ndarray], np.ndarray], corners: list[int], factors: tuple[int, int]
) -> None:
    found, turned = (SelectiveSearch()(image).boxes for image in (photo, moved(photo)))
    shifts = [size if factor < 0 else 0 for size, factor in zip((451, 300), factors, strict=True)]
    back = turned[:, corners] * (*factors, *factors) + (*shifts, *shifts)
    # Only ties can be broken differently.
    assert len(back) == pytest.approx(len(found), rel=0.02)
    assert (iou(found, back).max(axis=1) > 0.9).mean() > 0.95


def test_superpixel_scale_multiplies_k_and_minimum_size(photo: np.ndarray) -> None:
    scaled = SelectiveSearch(SelectiveSearchConfig(superpixel_scale=2))(photo)
    doubled = SelectiveSearch(SelectiveSearchConfig(ks=(100, 200)))(photo)
    assert as_set(scaled.boxes) == as_set(doubled.boxes)
    np.testing.assert_array_equal(scaled.scores, doubled.scores)
    fixed = SelectiveSearch(strategy(k=50, minimum_size=30, superpixel_scale=2)).hierarchies(photo)[0]
    same = SelectiveSearch(strategy(k=100, minimum_size=60)).hierarchies(photo)[0]
    np.testing.assert_array_equal(fixed.labels, same.labels)


@pytest.mark.parametrize("factor", [0.5, 3])
def test_boxes_are_in_pixels_of_the_original(scene: tuple[np.ndarray, Boxes], iou: IoU, factor: float) -> None:
    image, objects = scene
    scaled = image[::2, ::2] if factor < 1 else image.repeat(3, axis=0).repeat(3, axis=1)
    found = SelectiveSearch()(scaled)
    assert found.image_size == (400 * factor, 300 * factor)
    assert (iou(objects * np.float32(factor), found.boxes).max(axis=1) > 0.7).mean() >= 0.8


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (1, 900), (900, 1), (3, 3), (19, 300)])
def test_tiny_images_give_the_whole_image(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    for width, enlarge in ((500, False), (None, False), (300, True)):
        found = SelectiveSearch(SelectiveSearchConfig(working_width=width, enlarge=enlarge))(image)
        assert found.boxes.tolist() == [[0, 0, *size]]
        assert found.image_size == size


@pytest.mark.parametrize(
    ("size", "changes", "expected"),
    [
        ((451, 300), {}, (451, 300)),
        ((451, 300), {"working_width": 900, "enlarge": True}, (900, 599)),
        ((451, 300), {"working_width": 100, "enlarge": True}, (100, 67)),
        ((451, 300), {"working_width": None, "enlarge": True}, (451, 300)),
        ((6000, 40), {"working_width": 16}, (16, 1)),
        # A tall image is enlarged until it is four times as high as the working width, and is never reduced for it.
        ((10, 150), {"working_width": 100, "enlarge": True}, (27, 400)),
        ((10, 500), {"working_width": 100, "enlarge": True}, (10, 500)),
    ],
)
def test_the_working_width_reduces_and_enlarges_only_if_asked_to(
    size: tuple[int, int], changes: dict[str, Any], expected: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    assert SelectiveSearch(strategy(**changes)).hierarchies(image)[0].labels.shape == expected[::-1]


def test_hierarchies_are_those_behind_the_boxes(photo: np.ndarray) -> None:
    search = SelectiveSearch(SelectiveSearchConfig(minimum_box_side=1), threads=2)
    hierarchies = search.hierarchies(photo)
    assert len(hierarchies) == len(search.source_names) == 8
    found = search(photo)
    assert as_set(found.boxes) == set().union(*(as_set(hierarchy.boxes) for hierarchy in hierarchies))
    for source, hierarchy in enumerate(hierarchies):
        assert as_set(found.boxes[found.sources == source]) <= as_set(hierarchy.boxes)
    # In the order of source_names: the second of two similarities, then the second of two k.
    assert hierarchies[0].labels is hierarchies[1].labels
    assert hierarchies[0].superpixels > 2 * hierarchies[2].superpixels
    alone = SelectiveSearch(strategy("Lab", "TSF", 50)).hierarchies(photo)[0]
    np.testing.assert_array_equal(hierarchies[5].merges, alone.merges)


@pytest.mark.parametrize("size", [(120, 90), (700, 500)])  # the second is reduced to a working image
def test_masks_are_the_regions_inside_the_boxes(size: tuple[int, int]):
    rng = np.random.default_rng(0)
    image = np.kron(
        rng.integers(0, 256, (size[1] // 10, size[0] // 10, 3), dtype=np.uint8), np.ones((10, 10, 1), np.uint8)
    )
    search = SelectiveSearch()
    proposals, masks = search.with_masks(image, 30)
    np.testing.assert_array_equal(proposals.boxes, search(image).top(30).boxes)
    assert masks.shape == (30, size[1], size[0])
    scale = max(1.0, size[0] / 500)
    for box, mask in zip(proposals.boxes, masks, strict=True):
        rows, columns = np.nonzero(mask)
        around = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(around, box, atol=0 if scale == 1 else scale)
