import itertools

import cv2
import numpy as np
import pytest

from proposals.colour import colour_planes
from proposals.features import COLOUR_BINS, ORIENTATIONS, TEXTURE_BINS, feature_bins, regions


def histograms_by_hand(planes: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour (C, 25) and texture (C, 8, 10) histograms of the pixels in `mask`."""
    colour, texture = [], []
    x = np.arange(-4, 5)
    smooth = np.exp(-(x**2) / 2) / np.exp(-(x**2) / 2).sum()
    for plane in planes:
        colour.append(np.bincount(plane[mask].astype(int) * COLOUR_BINS // 256, minlength=COLOUR_BINS))
        dx = cv2.sepFilter2D(plane, cv2.CV_64F, x * smooth, smooth, borderType=cv2.BORDER_REPLICATE)
        dy = cv2.sepFilter2D(plane, cv2.CV_64F, smooth, x * smooth, borderType=cv2.BORDER_REPLICATE)
        for orientation in range(ORIENTATIONS):
            angle = 2 * np.pi * orientation / ORIENTATIONS
            response = np.maximum(np.cos(angle) * dx + np.sin(angle) * dy, 0)[mask]
            bins = np.minimum(response * TEXTURE_BINS / 92, TEXTURE_BINS - 1).astype(int)
            texture.append(np.bincount(bins, minlength=TEXTURE_BINS))
    return np.array(colour), np.array(texture).reshape(len(planes), ORIENTATIONS, TEXTURE_BINS)


@pytest.mark.parametrize("space", ["HSV", "Lab"])
def test_histograms_equal_those_by_hand(photo: np.ndarray, space: str) -> None:
    planes = colour_planes(photo[100:200, 150:300], space)  # type: ignore[arg-type]
    labels = np.arange(100)[:, None] // 50 * 3 + np.arange(150) // 50
    measured = regions(labels.astype(np.int32), 6, feature_bins(planes))
    split = 3 * COLOUR_BINS
    texture_mass = 0
    for region in range(6):
        colour, texture = histograms_by_hand(planes, labels == region)
        counts = measured.counts[region]
        np.testing.assert_array_equal(counts[:split], colour.ravel())
        # A response next to the border of two bins may fall on either side of it.
        assert np.abs(counts[split:] - texture.ravel()).sum() <= 0.005 * texture.sum()
        texture_mass += texture[:, :, 1:].sum()
        np.testing.assert_array_equal(counts[:split].reshape(3, -1).sum(axis=1), 2500)
        np.testing.assert_array_equal(counts[split:].reshape(24, -1).sum(axis=1), 2500)
    assert texture_mass > 1000


def test_colour_spaces_fill_eight_bits() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]]], np.uint8)
    hsv = colour_planes(colours, "HSV")
    assert hsv.shape == (3, 1, 5)
    assert hsv[0, 0, :3].tolist() == [0, 85, 171]  # 0, 120 and 240 degrees of 256 steps
    assert hsv[1, 0].tolist() == [255, 255, 255, 0, 0]
    assert hsv[2, 0].tolist() == [255, 255, 255, 255, 0]
    lab = colour_planes(colours, "Lab")
    # CIE L*a*b* of sRGB red is (53.2, 80.1, 67.2).
    assert lab[:, 0, 0].tolist() == [136, 208, 195]
    assert lab[:, 0, 3].tolist() == [255, 128, 128]


def test_regions_are_measured() -> None:
    labels = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [3, 2, 2, 1]], np.int32)
    measured = regions(labels, 4, feature_bins(np.zeros((3, 3, 4), np.uint8)))
    assert measured.sizes.tolist() == [3, 4, 4, 1]
    assert measured.boxes.tolist() == [[0, 0, 2, 2], [2, 0, 4, 3], [1, 1, 3, 3], [0, 2, 1, 3]]
    # 0 and 1 touch along an edge, 3 and 2 too; nothing joins 1 and 3.
    assert sorted(map(tuple, measured.neighbours.tolist())) == [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3)]


def test_regions_that_touch_at_a_corner_are_neighbours() -> None:
    labels = np.array([[0, 1], [2, 0]], np.int32)
    measured = regions(labels, 3, feature_bins(np.zeros((3, 2, 2), np.uint8)))
    assert sorted(map(tuple, measured.neighbours.tolist())) == [(0, 1), (0, 2), (1, 2)]


def test_neighbours_equal_those_by_hand() -> None:
    labels = np.random.default_rng(0).integers(0, 30, (12, 17)).astype(np.int32)
    expected = set()
    for (y, x), (dy, dx) in itertools.product(np.ndindex(12, 17), ((0, 1), (1, 0), (1, 1), (1, -1))):
        if y + dy < 12 and 0 <= x + dx < 17:
            pair = sorted((int(labels[y, x]), int(labels[y + dy, x + dx])))
            if pair[0] != pair[1]:
                expected.add(tuple(pair))
    found = regions(labels, 30, feature_bins(np.zeros((3, 12, 17), np.uint8))).neighbours
    assert len(found) == len(expected)
    assert set(map(tuple, found.tolist())) == expected
