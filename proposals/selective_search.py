"""Selective Search (Uijlings, van de Sande, Gevers, Smeulders, IJCV 2013)."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import cv2
import numpy as np

from proposals.color import color_planes
from proposals.compilation import is_compiled
from proposals.config import ColorSpace, SelectiveSearchConfig
from proposals.features import feature_bins
from proposals.grouping import group
from proposals.hierarchy import Hierarchy
from proposals.regions import measure_regions
from proposals.segmentation import segment, sorted_edges
from proposals.types import Proposals, checked_image

# Part of the fingerprint: raise it whenever the boxes of any configuration change.
ALGORITHM_VERSION = 4

# An image much taller than wide is not enlarged to the working width: that would cost memory without end.
_MAXIMUM_HEIGHT_TO_WORKING_WIDTH = 4

_Result = TypeVar("_Result")


class SelectiveSearch:
    """Proposes boxes by hierarchical grouping of superpixels.

    Args:
        config: the settings; None takes the paper's `fast` preset.
        threads: threads for one image, of use up to the number of color spaces; the result does not depend on it.

    The object holds no state of an image and may be called from several threads at once.
    """

    def __init__(self, config: SelectiveSearchConfig | None = None, threads: int = 1) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.config = config if config is not None else SelectiveSearchConfig()
        self.threads = threads

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with the settings and the algorithm."""
        content = json.dumps(["selective_search", ALGORITHM_VERSION, dataclasses.asdict(self.config)], sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    @property
    def source_names(self) -> tuple[str, ...]:
        """One name a strategy, as in the `source_names` of the result."""
        return tuple(
            f"selective_search/{space}/{similarity}/{k:g}"
            for space in self.config.color_spaces
            for k in self.config.ks
            for similarity in self.config.similarities
        )

    def __call__(self, image: np.ndarray) -> Proposals:
        """Propose boxes for an image.

        Args:
            image: (H, W, 3) uint8 RGB or (H, W) uint8 gray, any strides.

        Returns:
            Distinct boxes with whole-number corners, best rank first; at least one (the whole image if
            no other box is large enough). The score is 1 / (1 + v), v the rank value of section 3.4 of the
            paper: position in the hierarchy times a random number in 0..1.

        Raises:
            ValueError: `image` is not such an array, or is empty.
        """
        pixels = checked_image(image)
        working = self._working_image(pixels)
        strategies = self._map_spaces(working, lambda hierarchy: hierarchy.boxes[::-1])
        return self._rank(strategies, (working.shape[1], working.shape[0]), (pixels.shape[1], pixels.shape[0]))

    def hierarchies(self, image: np.ndarray) -> list[Hierarchy]:
        """The groupings behind the boxes, one a strategy as in `source_names`.

        They are in pixels of the working image, which is smaller than `image` if that is wider than the
        configuration's `working_width`.
        """
        return self._map_spaces(self._working_image(checked_image(image)), lambda hierarchy: hierarchy)

    def _working_image(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        target = self.config.working_width
        if target is None or target == width or (target > width and not self.config.enlarge):
            return image
        scale = target / width
        if scale > 1:
            scale = max(1.0, min(scale, _MAXIMUM_HEIGHT_TO_WORKING_WIDTH * target / height))
        else:
            # Blur and exact linear interpolation: OpenCV computes both with whole numbers, alike everywhere.
            # Beyond 17 times the width the blur grows no more: its cost would have no end.
            sigma = min(0.5 * (1 / scale - 1), 8.0)
            if sigma > 0.1:
                image = cv2.GaussianBlur(image, (0, 0), sigma)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR_EXACT)

    def _map_spaces(self, image: np.ndarray, result: Callable[[Hierarchy], _Result]) -> list[_Result]:
        """`result` of every strategy's hierarchy, in the order of `source_names`; a thread takes a color space."""
        config = self.config
        size, scale = (image.shape[1], image.shape[0]), config.superpixel_scale

        def of_space(space: ColorSpace) -> list[_Result]:
            planes = color_planes(image, space)
            edges = sorted_edges(planes, config.sigma)
            segmentations = [
                segment(edges, size, k * scale, (k if config.minimum_size is None else config.minimum_size) * scale)
                for k in config.ks
            ]
            measured = measure_regions(segmentations, feature_bins(planes))
            return [result(group(regions, similarity)) for regions in measured for similarity in config.similarities]

        if self.threads == 1:
            results = [of_space(space) for space in config.color_spaces]
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                results = list(pool.map(of_space, config.color_spaces))
        return [one for space in results for one in space]

    def _rank(
        self, strategies: list[np.ndarray], working_size: tuple[int, int], image_size: tuple[int, int]
    ) -> Proposals:
        values = np.concatenate([self._rank_values(i, len(boxes)) for i, boxes in enumerate(strategies)])
        sources = np.repeat(np.arange(len(strategies)), [len(boxes) for boxes in strategies])
        boxes = np.concatenate(strategies).astype(np.int64)
        boxes = _rescale(boxes, working_size, image_size)
        sides = boxes[:, 2:] - boxes[:, :2]
        large = np.flatnonzero((sides >= self.config.minimum_box_side).all(axis=1))
        if len(large) == 0:
            large = np.array([0])  # the first region of the first strategy is the whole image
        order = large[np.argsort(values[large], kind="stable")]
        order = order[np.sort(_first_of_equal(boxes[order]))]
        return Proposals(
            boxes[order].astype(np.float32),
            (1 / (1 + values[order])).astype(np.float32),
            sources[order].astype(np.int16),
            self.source_names,
            image_size,
        )

    def _rank_values(self, strategy: int, count: int) -> np.ndarray:
        """Position in the hierarchy, 1 = whole image, times a random number above 0 and up to 1."""
        draws = np.random.default_rng([self.config.seed, strategy]).random(count)
        return np.arange(1, count + 1) * (1 - draws)


def _first_of_equal(boxes: np.ndarray) -> np.ndarray:
    """Indices of the first occurrence of every distinct box (N, 4), in no order."""
    order = np.lexsort(boxes.T)  # stable: of equal boxes the first comes first
    new = np.ones(len(order), bool)
    new[1:] = (boxes[order[1:]] != boxes[order[:-1]]).any(axis=1)
    return order[new]


def _rescale(boxes: np.ndarray, source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Scale whole-number boxes from an image size to another, rounding half up."""
    factors = np.array([*target, *target], np.int64)
    divisors = np.array([*source, *source], np.int64)
    return (2 * boxes * factors + divisors) // (2 * divisors)


def warm_up(announce: Callable[[str], None] | None = None) -> None:
    """Compile the numeric loops, or load them from the disk if an earlier run has compiled them.

    Without it the first image does this. `announce` is called with a message if it is going to take long.
    """
    if announce is not None and not is_compiled():
        announce("compiling Selective Search, once, about 10 seconds")
    # One space for every way to convert colors, two values of k, similarities with and without histograms.
    every = SelectiveSearchConfig(color_spaces=("HSV", "rgI", "C"), similarities=("CTSF", "F"))
    SelectiveSearch(every)(np.zeros((8, 8, 3), np.uint8))
