import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import selectivesearch
from hypothesis import given, settings
from hypothesis import strategies as st

import proposals
from proposals import Proposals, SelectiveSearch, SelectiveSearchConfig

Boxes = np.ndarray
IoU = Callable[[Boxes, Boxes], np.ndarray]

DIGEST = """
import hashlib, sys
import numpy as np
from proposals import SelectiveSearch
found = SelectiveSearch()(np.load(sys.argv[1]))
print(hashlib.sha256(found.boxes.tobytes() + found.scores.tobytes() + found.sources.tobytes()).hexdigest())
"""


def assert_equal(a: Proposals, b: Proposals) -> None:
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    np.testing.assert_array_equal(a.sources, b.sources)


def test_every_drawn_object_is_found(scene: tuple[np.ndarray, Boxes], iou: IoU) -> None:
    image, objects = scene
    found = SelectiveSearch()(image)
    assert iou(objects, found.boxes).max(axis=1).min() >= 0.7
    assert 100 < len(found) < 1500


@pytest.mark.filterwarnings("ignore:Applying `local_binary_pattern`:UserWarning")  # inside the package
def test_it_finds_more_than_the_package_selectivesearch(scene: tuple[np.ndarray, Boxes], iou: IoU) -> None:
    image, objects = scene
    _, regions = selectivesearch.selective_search(image, scale=500, sigma=0.9, min_size=10)
    rival = np.array([(x, y, x + w, y + h) for x, y, w, h in (region["rect"] for region in regions)], float)
    best_of_rival = iou(objects, rival).max(axis=1)
    best = iou(objects, SelectiveSearch()(image).boxes).max(axis=1)
    assert (best >= 0.7).mean() > (best_of_rival >= 0.7).mean() > 0
    assert best.mean() > best_of_rival.mean()


def test_the_first_boxes_find_the_large_parts(photo: np.ndarray) -> None:
    found = SelectiveSearch()(photo)
    areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)
    # Position times a random number: the top of the hierarchy comes first, on average.
    assert np.median(areas[:50]) > 3 * np.median(areas[-500:])
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores[0] <= 1
    assert found.scores[-1] > 0


def test_all_strategies_contribute(photo: np.ndarray) -> None:
    search = SelectiveSearch()
    found = search(photo)
    assert found.source_names == search.source_names
    assert set(found.sources.tolist()) == set(range(8))


def test_a_strategy_alone_gives_the_same_boxes(photo: np.ndarray) -> None:
    alone = SelectiveSearch(SelectiveSearchConfig(colour_spaces=("Lab",), similarities=("TSF",), ks=(50,)))(photo)
    together = SelectiveSearch()(photo)
    # The best rank names the source, so other strategies may have taken some of the boxes.
    assert set(map(tuple, alone.boxes.tolist())) <= set(map(tuple, together.boxes.tolist()))
    assert len(alone) < len(together)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_the_result(photo: np.ndarray, threads: int) -> None:
    assert_equal(SelectiveSearch(threads=1)(photo), SelectiveSearch(threads=threads)(photo))


def test_another_process_on_another_processor_gives_the_same(photo: np.ndarray, tmp_path: Path) -> None:
    # The child compiles for the plainest processor of this architecture and OpenCV leaves out its faster
    # variants: the result must depend on neither.
    np.save(tmp_path / "photo.npy", photo)
    environment = os.environ | {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "PYTHONPATH": str(Path(proposals.__file__).parents[1]),
    }
    if platform.machine() in ("x86_64", "AMD64"):
        environment["OPENCV_CPU_DISABLE"] = "AVX512_SKX,AVX2,FP16,AVX"
    command = [sys.executable, "-c", DIGEST, str(tmp_path / "photo.npy")]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    here = SelectiveSearch()(photo)
    content = here.boxes.tobytes() + here.scores.tobytes() + here.sources.tobytes()
    assert output.split()[-1] == hashlib.sha256(content).hexdigest()


def test_the_seed_changes_the_order_and_nothing_else(photo: np.ndarray) -> None:
    first = SelectiveSearch(SelectiveSearchConfig(seed=1))(photo)
    again = SelectiveSearch(SelectiveSearchConfig(seed=1))(photo)
    other = SelectiveSearch(SelectiveSearchConfig(seed=2))(photo)
    assert_equal(first, again)
    assert first.boxes.tolist() != other.boxes.tolist()
    assert set(map(tuple, first.boxes.tolist())) == set(map(tuple, other.boxes.tolist()))


def test_a_mirrored_image_gives_mirrored_boxes(photo: np.ndarray, iou: IoU) -> None:
    found = SelectiveSearch()(photo).boxes
    mirrored = SelectiveSearch()(photo[:, ::-1]).boxes
    back = mirrored[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (photo.shape[1], 0, photo.shape[1], 0)
    # Only ties between edges of equal weight can fall differently.
    assert (iou(found, back).max(axis=1) > 0.9).mean() > 0.95


def test_doubled_superpixels_halve_the_boxes(photo: np.ndarray) -> None:
    plain = len(SelectiveSearch()(photo))
    doubled = len(SelectiveSearch(SelectiveSearchConfig(superpixel_scale=2))(photo))
    assert 0.4 < doubled / plain < 0.65


def test_superpixel_scale_multiplies_k_and_minimum_size(photo: np.ndarray) -> None:
    scaled = SelectiveSearch(SelectiveSearchConfig(superpixel_scale=2))(photo)
    assert_equal(scaled, SelectiveSearch(SelectiveSearchConfig(ks=(100, 200)))(photo))


@pytest.mark.parametrize("factor", [0.5, 3])
def test_boxes_are_in_pixels_of_the_original(scene: tuple[np.ndarray, Boxes], iou: IoU, factor: float) -> None:
    image, objects = scene
    scaled = image[::2, ::2] if factor < 1 else image.repeat(3, axis=0).repeat(3, axis=1)
    found = SelectiveSearch()(scaled)
    assert found.image_size == (400 * factor, 300 * factor)
    assert (iou(objects * np.float32(factor), found.boxes).max(axis=1) > 0.7).mean() >= 0.8


def test_small_boxes_are_dropped(photo: np.ndarray) -> None:
    for side in (1, 20, 60):
        found = SelectiveSearch(SelectiveSearchConfig(minimum_box_side=side))(photo)
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        assert sides.min() >= side
        assert sides.min() < side + 15


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (1, 900), (900, 1), (3, 3), (19, 300)])
def test_images_without_room_for_a_box_give_the_whole_image(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    for width in (500, None):
        found = SelectiveSearch(SelectiveSearchConfig(working_width=width))(image)
        assert found.boxes.tolist() == [[0, 0, *size]]
        assert found.image_size == size


def test_an_image_of_one_colour_gives_the_whole_image() -> None:
    found = SelectiveSearch()(np.full((80, 120, 3), 77, np.uint8))
    assert found.boxes.tolist() == [[0, 0, 120, 80]]


def test_strides_do_not_matter(photo: np.ndarray) -> None:
    search = SelectiveSearch(SelectiveSearchConfig(colour_spaces=("HSV",), ks=(100,)))
    expected = search(np.ascontiguousarray(photo[::-1, ::2]))
    assert_equal(search(photo[::-1, ::2]), expected)
    assert_equal(search(np.asfortranarray(photo[::-1, ::2])), expected)
    read_only = photo[::-1, ::2].copy()
    read_only.setflags(write=False)
    assert_equal(search(read_only), expected)


def test_the_image_is_left_as_it_was(photo: np.ndarray) -> None:
    image = photo.copy()
    SelectiveSearch()(image)
    np.testing.assert_array_equal(image, photo)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((10, 10), np.uint8), r"\(H, W, 3\) uint8 RGB array, not \(10, 10\) uint8"),
        (np.zeros((10, 10, 4), np.uint8), r"not \(10, 10, 4\) uint8"),
        (np.zeros((3, 10, 10), np.uint8), r"not \(3, 10, 10\) uint8"),
        (np.zeros((10, 10, 3), np.float32), r"not \(10, 10, 3\) float32"),
        (np.zeros((0, 10, 3), np.uint8), "an image with pixels, not 10x0"),
        (np.zeros((10, 0, 3), np.uint8), "an image with pixels, not 0x10"),
        ([[[0, 0, 0]]], "a numpy array, not list"),
    ],
)
def test_wrong_images_are_refused(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        SelectiveSearch()(image)
    assert "\n" not in str(error.value)


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([2, 3, 256]),
    side=st.integers(1, 20),
    working_width=st.sampled_from([None, 16, 50, 90]),
    k=st.sampled_from([5, 50, 500]),
)
def test_boxes_of_any_image_are_valid(
    width: int, height: int, seed: int, levels: int, side: int, working_width: int | None, k: float
) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.integers(0, levels, (height, width, 3)) * (255 // (levels - 1))).astype(np.uint8)
    config = SelectiveSearchConfig(
        minimum_box_side=side, working_width=working_width, ks=(k,), minimum_size_scale=0.1, seed=seed
    )
    found = SelectiveSearch(config)(image)
    assert len(found) >= 1
    assert found.image_size == (width, height)
    left, top, right, bottom = found.boxes.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= width).all()
    assert (bottom <= height).all()
    assert (found.boxes == np.rint(found.boxes)).all()
    assert len(np.unique(found.boxes, axis=0)) == len(found)
    if min(width, height) >= side:
        assert (right - left).min() >= side
        assert (bottom - top).min() >= side
    # The whole image belongs to every hierarchy.
    assert [0, 0, width, height] in found.boxes.tolist()
