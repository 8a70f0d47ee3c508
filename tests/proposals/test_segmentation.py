import math

import cv2
import numpy as np
import pytest
from skimage.metrics import adapted_rand_error
from skimage.segmentation import felzenszwalb

from proposals.filters import correlate, gaussian_derivative_kernel, gaussian_kernel
from proposals.segmentation import WEIGHT_UNIT, segment, sorted_edges

STEPS = ((1, 0), (0, 1), (1, 1), (-1, 1))


def edges_by_hand(planes: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(weight, code, pixel, other pixel) in ascending order."""
    _, height, width = planes.shape
    edges = []
    for y in range(height):
        for x in range(width):
            for direction, (dx, dy) in enumerate(STEPS):
                if 0 <= x + dx < width and y + dy < height:
                    difference = planes[:, y, x].astype(float) - planes[:, y + dy, x + dx]
                    weight = math.floor(math.sqrt((difference**2).sum()) * WEIGHT_UNIT)
                    pixel = y * width + x
                    edges.append((weight, 4 * pixel + direction, pixel, pixel + dy * width + dx))
    return sorted(edges)


def segment_by_hand(planes: np.ndarray, k: float, minimum_size: float) -> np.ndarray:
    """The algorithm of the paper with plain lists instead of union-find."""
    _, height, width = planes.shape
    members = {pixel: [pixel] for pixel in range(height * width)}
    component = dict.fromkeys(members, 0) | {pixel: pixel for pixel in members}
    internal = dict.fromkeys(members, 0.0)
    edges = edges_by_hand(planes)

    def join(a: int, b: int, weight: float) -> None:
        for pixel in members[b]:
            component[pixel] = a
        members[a] += members.pop(b)
        internal[a] = weight

    for weight, _, pixel, other in edges:
        a, b = component[pixel], component[other]
        bounds = [internal[c] + k * WEIGHT_UNIT / len(members[c]) for c in (a, b)]
        if a != b and weight <= min(bounds):
            join(a, b, weight)
    for _, _, pixel, other in edges:
        a, b = component[pixel], component[other]
        if a != b and min(len(members[a]), len(members[b])) < minimum_size:
            join(a, b, 0)
    names: dict[int, int] = {}
    labels = [names.setdefault(component[pixel], len(names)) for pixel in range(height * width)]
    return np.array(labels).reshape(height, width)


@pytest.mark.parametrize("shape", [(3, 9, 14), (3, 1, 12), (3, 12, 1), (1, 8, 8), (3, 1, 1)])
@pytest.mark.parametrize(("levels", "k", "minimum_size"), [(256, 100, 1), (256, 400, 4), (4, 100, 6), (2, 30, 1)])
def test_it_equals_the_algorithm_done_by_hand(
    shape: tuple[int, int, int], levels: int, k: float, minimum_size: float
) -> None:
    rng = np.random.default_rng(levels + shape[1])
    planes = (rng.integers(0, levels, shape) * (255 // (levels - 1))).astype(np.uint8)
    codes, starts = edges = sorted_edges(planes, sigma=0)
    weights = np.repeat(np.arange(65536), np.diff(starts))
    by_hand = edges_by_hand(planes)
    # The weight is a rounded float32: it may miss a whole number by one, never the order by more.
    assert dict(zip(codes.tolist(), weights.tolist(), strict=True)) == pytest.approx(
        {code: weight for weight, code, _, _ in by_hand}, abs=1
    )
    labels, count = segment(edges, (shape[2], shape[1]), k, minimum_size)
    expected = segment_by_hand(planes, k, minimum_size)
    assert count == expected.max() + 1
    np.testing.assert_array_equal(labels, expected)


def test_the_largest_weight_fits() -> None:
    planes = np.zeros((3, 1, 2), np.uint8)
    planes[:, 0, 1] = 255
    codes, starts = sorted_edges(planes, sigma=0)
    assert codes.tolist() == [0]
    weight = int(np.flatnonzero(np.diff(starts))[0])
    assert weight == math.floor(255 * math.sqrt(3) * WEIGHT_UNIT)


@pytest.mark.parametrize(("k", "minimum_size"), [(50, 50), (100, 100), (300, 20)])
def test_it_agrees_with_scikit_image(photo: np.ndarray, k: int, minimum_size: int) -> None:
    planes = np.ascontiguousarray(photo.transpose(2, 0, 1))
    height, width = photo.shape[:2]
    labels, count = segment(sorted_edges(planes, 0), (width, height), k, minimum_size)
    reference = felzenszwalb(photo, scale=k, sigma=0, min_size=minimum_size)
    # Only edges of nearly equal weight are taken in another order.
    assert adapted_rand_error(reference, labels)[0] < 0.03
    assert count == pytest.approx(reference.max() + 1, rel=0.02)
    # With smoothing the filters differ in their borders and length, and small differences spread.
    labels, count = segment(sorted_edges(planes, 0.8), (width, height), k, minimum_size)
    reference = felzenszwalb(photo, scale=k, sigma=0.8, min_size=minimum_size)
    assert count == pytest.approx(reference.max() + 1, rel=0.1)
    sizes = np.bincount(labels.ravel())
    assert len(sizes) == count
    assert sizes.min() >= minimum_size


def test_superpixels_are_connected(photo: np.ndarray) -> None:
    planes = np.ascontiguousarray(photo[:120, :160].transpose(2, 0, 1))
    labels, count = segment(sorted_edges(planes, 0.8), (160, 120), 50, 50)
    for region in range(count):
        assert cv2.connectedComponents((labels == region).astype(np.uint8), connectivity=8)[0] == 2


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
