import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proposals.filters import correlate, gaussian_derivative_kernel, gaussian_kernel
from proposals.segmentation import WEIGHT_UNIT, segment, sorted_edges

STEPS = ((1, 0), (0, 1), (1, 1), (-1, 1))


def edges_by_hand(planes: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(weight, code, pixel, other pixel) in ascending order of weight, row, direction and column."""
    _, height, width = planes.shape
    edges = []
    for y in range(height):
        for direction, (dx, dy) in enumerate(STEPS):
            for x in range(width):
                if 0 <= x + dx < width and y + dy < height:
                    difference = planes[:, y, x].astype(int) - planes[:, y + dy, x + dx]
                    # A square root of 24 bits, as the library's: rounding may lift it to a whole number.
                    weight = math.floor(np.sqrt(np.float32((difference**2).sum())) * WEIGHT_UNIT)
                    pixel = y * width + x
                    edges.append((weight, 4 * pixel + direction, pixel, pixel + dy * width + dx))
    return sorted(without_heaviest_of_triangles(edges), key=lambda edge: edge[0])


def without_heaviest_of_triangles(edges: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Also without a diagonal that is as heavy as the heaviest other edge of a triangle."""
    weights = {frozenset((a, b)): weight for weight, _, a, b in edges}
    touching: dict[int, set[int]] = {}
    for _, _, a, b in edges:
        touching.setdefault(a, set()).add(b)
        touching.setdefault(b, set()).add(a)

    def stays(weight: int, code: int, a: int, b: int) -> bool:
        others = [max(weights[frozenset((a, c))], weights[frozenset((b, c))]) for c in touching[a] & touching[b]]
        return all(weight < other or (weight == other and code % 4 < 2) for other in others)

    return [edge for edge in edges if stays(*edge)]


def segment_by_hand(planes: np.ndarray, k: float, minimum_size: float) -> np.ndarray:
    """The algorithm of the paper with plain lists instead of union-find, on the edges that `sorted_edges` keeps."""
    _, height, width = planes.shape
    members = {pixel: [pixel] for pixel in range(height * width)}
    component = dict.fromkeys(members, 0) | {pixel: pixel for pixel in members}
    internal = dict.fromkeys(members, 0)
    edges = edges_by_hand(planes)

    def join(a: int, b: int, weight: int) -> None:
        for pixel in members[b]:
            component[pixel] = a
        members[a] += members.pop(b)
        internal[a] = weight

    for weight, _, pixel, other in edges:
        a, b = component[pixel], component[other]
        bounds = [np.float32(internal[c]) + np.float32(k * WEIGHT_UNIT) / np.float32(len(members[c])) for c in (a, b)]
        if a != b and weight <= min(bounds):
            join(a, b, weight)
    for _, _, pixel, other in edges:
        a, b = component[pixel], component[other]
        if a != b and min(len(members[a]), len(members[b])) < minimum_size:
            join(a, b, 0)
    return numbered(np.array([component[pixel] for pixel in range(height * width)]).reshape(height, width))


def numbered(values: np.ndarray) -> np.ndarray:
    """The distinct values numbered in order of their first pixel."""
    names: dict[int, int] = {}
    return np.array([names.setdefault(value, len(names)) for value in values.ravel().tolist()]).reshape(values.shape)


def segmented(planes: np.ndarray, k: float, minimum_size: float = 1, sigma: float = 0) -> np.ndarray:
    labels, count = segment(sorted_edges(planes, sigma), (planes.shape[2], planes.shape[1]), k, minimum_size)
    assert labels.dtype == np.int32
    assert labels.shape == planes.shape[1:]
    # All of 0 .. count - 1, in order of their first pixel.
    np.testing.assert_array_equal(labels, numbered(labels))
    assert count == labels.max() + 1
    return labels


def of_levels(levels: int) -> st.SearchStrategy[np.ndarray]:
    """Small images of one to three channels with so many values, spread evenly."""
    shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
    return shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, levels - 1))).map(
        lambda values: values * np.uint8(255 // (levels - 1))
    )


IMAGES = st.sampled_from([2, 4, 256]).flatmap(of_levels)


@settings(max_examples=40, deadline=None)
@given(
    planes=IMAGES,
    k=st.sampled_from([0.001, 1, 30, 128.5, 400, 5000, 1e9]),
    minimum_size=st.sampled_from([0, 1, 2.5, 6, 1000]),
)
def test_any_small_image_equals_the_slow_algorithm(planes: np.ndarray, k: float, minimum_size: float) -> None:
    np.testing.assert_array_equal(segmented(planes, k, minimum_size), segment_by_hand(planes, k, minimum_size))


@settings(max_examples=40, deadline=None)
@given(planes=IMAGES)
def test_edges_are_sorted_without_the_heaviest_of_triangles(planes: np.ndarray) -> None:
    codes, starts = sorted_edges(planes, sigma=0)
    assert codes.dtype == np.uint32
    assert starts.shape == (65537,)
    weights = np.repeat(np.arange(65536), np.diff(starts)).tolist()
    by_hand = edges_by_hand(planes)
    assert list(zip(weights, codes.tolist(), strict=True)) == [(weight, code) for weight, code, _, _ in by_hand]


FLAT = [[0, 0, 0]] * 3
DOT = [[0, 0, 0], [0, 200, 0], [0, 0, 0]]
HALVES = [[50, 50, 60, 60]] * 2
RAMP = [[0, 20, 40, 60]] * 3
CHECKS = [[0, 255, 0, 255], [255, 0, 255, 0]]
# A thin line separates two areas of the same gray.
LINE = [[90, 90, 0, 90, 90]] * 3


@pytest.mark.parametrize(
    ("rows", "k", "minimum_size", "expected"),
    [
        (DOT, 100, 2, FLAT),
        # A single pixel is joined if the step is at most k, and at most k / 8 for the eight around it.
        (DOT, 1599, 1, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
        (DOT, 1600, 1, FLAT),
        # Halves of four pixels each and a step of 10: 10 <= k / 4.
        (HALVES, 39.9, 1, [[0, 0, 1, 1]] * 2),
        (HALVES, 40, 1, [[0, 0, 0, 0]] * 2),
        (HALVES, 1, 4, [[0, 0, 1, 1]] * 2),
        (HALVES, 1, 5, [[0, 0, 0, 0]] * 2),
        # Columns of three pixels: a step of 20 is less than k / 3 from 60 on.
        (RAMP, 59.9, 1, [[0, 1, 2, 3]] * 3),
        (RAMP, 60, 1, [[0, 0, 0, 0]] * 3),
        # Squares of one color touch at their corners.
        (CHECKS, 100, 1, [[0, 1, 0, 1], [1, 0, 1, 0]]),
        (LINE, 100, 1, [[0, 0, 1, 2, 2]] * 3),
        (LINE, 100, 4, [[0, 0, 0, 1, 1]] * 3),
    ],
)
def test_drawings(rows: list[list[int]], k: float, minimum_size: float, expected: list[list[int]]) -> None:
    assert segmented(np.array([rows], np.uint8), k, minimum_size).tolist() == expected


@pytest.mark.parametrize(("k", "minimum_size"), [(50, 50), (300, 20)])
def test_it_agrees_with_scikit_image(photo: np.ndarray, k: int, minimum_size: int) -> None:
    planes = np.ascontiguousarray(photo.transpose(2, 0, 1))
    labels = segmented(planes, k, minimum_size)
    reference = pytest.importorskip("skimage.segmentation").felzenszwalb(photo, scale=k, sigma=0, min_size=minimum_size)
    # Only edges of nearly equal weight are in another order.
    assert pytest.importorskip("skimage.metrics").adapted_rand_error(reference, labels)[0] < 0.03
    assert labels.max() == pytest.approx(reference.max(), rel=0.02)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 2.0])
def test_smoothing_is_opencvs(photo: np.ndarray, sigma: float) -> None:
    planes = np.ascontiguousarray(photo[:60, :80].transpose(2, 0, 1))
    kernel = gaussian_kernel(sigma)
    assert kernel.sum() == 1
    np.testing.assert_array_equal(kernel, kernel[::-1])
    reference = cv2.getGaussianKernel(len(kernel), sigma)
    border = cv2.BORDER_REPLICATE
    expected = cv2.sepFilter2D(photo[:60, :80], cv2.CV_32F, reference, reference, borderType=border)
    np.testing.assert_allclose(correlate(planes, kernel, kernel), expected.transpose(2, 0, 1), atol=0.2)


def test_a_ramp_has_derivative_one() -> None:
    ramp = np.tile(np.arange(0, 40, dtype=np.uint8), (1, 30, 1))
    along, across = gaussian_derivative_kernel(1.0), gaussian_kernel(1.0)
    np.testing.assert_allclose(correlate(ramp, along, across)[0, :, 5:-5], 1, atol=0.01)
    np.testing.assert_allclose(correlate(ramp, across, along), 0, atol=1e-5)
