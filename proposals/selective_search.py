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
from proposals.masks import encode_regions
from proposals.regions import Superpixels, measure_regions
from proposals.segmentation import segment, sorted_edges
from proposals.types import Proposals, Regions, checked_image

ALGORITHM_VERSION = 4
"""Part of the fingerprint; increase it whenever the boxes of any configuration change."""

# Limits the enlargement of tall images, whose memory would otherwise be unbounded.
_MAX_HEIGHT_TO_WORKING_WIDTH = 4

_Result = TypeVar("_Result")


class SelectiveSearch:
    """Proposes boxes by hierarchical grouping of superpixels.

    Several threads may call one object at the same time.

    Args:
        config: the settings; None uses the paper's `fast` preset.
        threads: threads per image, which share the color spaces and then the strategies; they do not affect the result.
        regions: also return the `regions` of the proposals.
    """

    def __init__(self, config: SelectiveSearchConfig | None = None, threads: int = 1, *, regions: bool = False) -> None:
        self.config = config if config is not None else SelectiveSearchConfig()
        self.threads = threads
        self.regions = regions

    @property
    def fingerprint(self) -> str:
        """Hash of the settings and the algorithm version, 32 hexadecimal digits."""
        content = json.dumps(["selective_search", ALGORITHM_VERSION, dataclasses.asdict(self.config)], sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    @property
    def source_names(self) -> tuple[str, ...]:
        """The name of every strategy, as in the `source_names` of the result."""
        return tuple(
            f"selective_search/{space}/{similarity}/{k:g}"
            for space in self.config.color_spaces
            for k in self.config.ks
            for similarity in self.config.similarities
        )

    def __call__(self, image: np.ndarray) -> Proposals:
        """Proposes boxes for an image.

        Args:
            image: (H, W, 3) uint8 RGB or (H, W) uint8 gray, with any strides.

        Returns:
            Distinct boxes with integer corners, best rank first; the whole image if no box is large enough. The score
            is 1 / (1 + v), where v is the rank value of section 3.4 of the paper: the position in the hierarchy times
            a random number in 0..1.

        Raises:
            ValueError: `image` is not such an array, or is empty.
        """
        if self.regions:
            return self._propose(image, None)
        pixels = checked_image(image)
        working = self._working_image(pixels)
        strategies = self._map_spaces(working, lambda hierarchy: hierarchy.boxes[::-1])
        return self._rank(strategies, (working.shape[1], working.shape[0]), (pixels.shape[1], pixels.shape[0]))[0]

    def _propose(self, image: np.ndarray, count: int | None) -> Proposals:
        """Proposes the best `count` boxes, or all, with their regions."""
        pixels = checked_image(image)
        working = self._working_image(pixels)
        size = (pixels.shape[1], pixels.shape[0])
        hierarchies = self._map_spaces(working, lambda hierarchy: hierarchy)
        strategies = [hierarchy.boxes[::-1] for hierarchy in hierarchies]
        proposals, rows = self._rank(strategies, (working.shape[1], working.shape[0]), size)
        if count is not None:
            proposals = proposals.top(count)
        starts = np.cumsum([0, *map(len, strategies)])
        levels, counts = np.empty(len(proposals), np.int32), [b""] * len(proposals)
        for source, hierarchy in enumerate(hierarchies):
            own = np.flatnonzero(proposals.sources == source)
            regions = len(hierarchy) - 1 - (rows[own] - starts[source])
            levels[own] = hierarchy.levels[regions]
            for index, mask in zip(own.tolist(), encode_regions(hierarchy, regions, size), strict=True):
                counts[index] = mask
        return dataclasses.replace(proposals, regions=Regions(levels, tuple(counts), size))

    def with_masks(self, image: np.ndarray, count: int = 100) -> tuple[Proposals, np.ndarray]:
        """Proposes the best `count` boxes, each with the region that it is drawn around.

        Args:
            image: as for a call.

        Returns:
            The proposals with their `regions`, and the masks of these: (N, H, W) bool in pixels of the image. They are
            found in the working image, so that their edges may be some pixels off.

        Raises:
            ValueError: `image` is not such an array, or the count is negative.
        """
        proposals = self._propose(image, count)
        assert proposals.regions is not None
        masks = np.zeros((len(proposals), *proposals.image_size[::-1]), bool)
        for i in range(len(masks)):
            masks[i] = proposals.regions.mask(i)
        return proposals, masks

    def hierarchies(self, image: np.ndarray) -> list[Hierarchy]:
        """Returns the grouping of every strategy, in the order of `source_names`.

        Their coordinates are pixels of the working image, whose size differs from `image` if `working_width` applies.
        """
        return self._map_spaces(self._working_image(checked_image(image)), lambda hierarchy: hierarchy)

    def _working_image(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        target = self.config.working_width
        if target is None or target == width or (target > width and not self.config.enlarge):
            return image
        scale = target / width
        if scale > 1:
            scale = max(1.0, min(scale, _MAX_HEIGHT_TO_WORKING_WIDTH * target / height))
        else:
            # OpenCV's blur and exact linear interpolation use integers, so the result is the same on every machine.
            # The blur is limited because its cost grows with the scale; the limit applies from 17 times the width.
            sigma = min(0.5 * (1 / scale - 1), 8.0)
            if sigma > 0.1:
                image = cv2.GaussianBlur(image, (0, 0), sigma)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR_EXACT)

    def _map_spaces(self, image: np.ndarray, result: Callable[[Hierarchy], _Result]) -> list[_Result]:
        """Returns `result(hierarchy)` of every strategy in the order of `source_names`."""
        config = self.config
        size, scale = (image.shape[1], image.shape[0]), config.superpixel_scale

        def strategies(space: ColorSpace) -> list[tuple[Superpixels, str]]:
            planes = color_planes(image, space)
            edges = sorted_edges(planes, config.sigma)
            segmentations = [
                segment(edges, size, k * scale, (k if config.minimum_size is None else config.minimum_size) * scale)
                for k in config.ks
            ]
            measured = measure_regions(segmentations, feature_bins(planes))
            return [(regions, similarity) for regions in measured for similarity in config.similarities]

        def grouped(strategy: tuple[Superpixels, str]) -> _Result:
            return result(group(*strategy))

        if self.threads == 1:
            return [grouped(strategy) for space in config.color_spaces for strategy in strategies(space)]
        with ThreadPoolExecutor(self.threads) as pool:
            everything = [strategy for space in pool.map(strategies, config.color_spaces) for strategy in space]
            return list(pool.map(grouped, everything))

    def _rank(
        self, strategies: list[np.ndarray], working_size: tuple[int, int], image_size: tuple[int, int]
    ) -> tuple[Proposals, np.ndarray]:
        """The proposals, and the row of each among the boxes of all strategies."""
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
        proposals = Proposals(
            boxes[order].astype(np.float32),
            (1 / (1 + values[order])).astype(np.float32),
            sources[order].astype(np.int16),
            self.source_names,
            image_size,
        )
        return proposals, order

    def _rank_values(self, strategy: int, count: int) -> np.ndarray:
        """Returns the positions in the hierarchy, 1 for the whole image, times random numbers in (0, 1]."""
        draws = np.random.default_rng([self.config.seed, strategy]).random(count)
        return np.arange(1, count + 1) * (1 - draws)


def _first_of_equal(boxes: np.ndarray) -> np.ndarray:
    """Returns the index of the first occurrence of every distinct box (N, 4), unordered."""
    order = np.lexsort(boxes.T)  # stable: equal boxes stay in order
    new = np.ones(len(order), bool)
    new[1:] = (boxes[order[1:]] != boxes[order[:-1]]).any(axis=1)
    return order[new]


def _rescale(boxes: np.ndarray, source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Scales integer boxes from one image size to another, rounding half up."""
    factors = np.array([*target, *target], np.int64)
    divisors = np.array([*source, *source], np.int64)
    return (2 * boxes * factors + divisors) // (2 * divisors)


def warm_up(announce: Callable[[str], None] | None = None) -> None:
    """Compiles the numeric loops, or loads them from disk if an earlier run compiled them; else the first image does.

    `announce` is called with a message before a compilation, which takes about 10 seconds.
    """
    if announce is not None and not is_compiled():
        announce("compiling Selective Search, once, about 10 seconds")
    # Color spaces of every conversion, two values of k, similarities with and without histograms.
    config = SelectiveSearchConfig(color_spaces=("HSV", "rgI", "C"), similarities=("CTSF", "F"))
    SelectiveSearch(config)(np.zeros((8, 8, 3), np.uint8))
