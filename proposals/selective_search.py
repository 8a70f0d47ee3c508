"""Selective Search (Uijlings, van de Sande, Gevers, Smeulders, IJCV 2013)."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import cv2
import numpy as np

from proposals.colour import colour_planes
from proposals.compilation import is_compiled
from proposals.config import ColourSpace, SelectiveSearchConfig
from proposals.features import feature_bins, regions
from proposals.grouping import group
from proposals.segmentation import segment, sorted_edges
from proposals.types import Proposals

# Part of the fingerprint: raise it whenever the boxes of any configuration change.
ALGORITHM_VERSION = 1

# An image much taller than wide is not enlarged to the working width: that would cost memory without end.
_MAXIMUM_HEIGHT_TO_WORKING_WIDTH = 4

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class SelectiveSearch:
    """Proposes boxes by hierarchical grouping of superpixels.

    Args:
        config: the settings; None takes the paper's `fast` preset.
        threads: threads for one image (up to 4 are of use with the default settings); the result does not
            depend on it.

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
            for space in self.config.colour_spaces
            for k in self.config.ks
            for similarity in self.config.similarities
        )

    def __call__(self, image: np.ndarray) -> Proposals:
        """Propose boxes for an image.

        Args:
            image: (H, W, 3) uint8 RGB, any strides.

        Returns:
            Distinct boxes with whole-number corners, best rank first; at least one (the whole image if
            no other box is large enough). The score is 1 / (1 + v), v the rank value of section 3.4 of the
            paper: position in the hierarchy times a random number in 0..1.

        Raises:
            ValueError: `image` is not such an array, or is empty.
        """
        if not isinstance(image, np.ndarray):
            raise ValueError(f"Selective Search needs a numpy array, not {type(image).__name__}")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"Selective Search needs an (H, W, 3) uint8 RGB array, not {image.shape} {image.dtype}")
        height, width = image.shape[:2]
        if height == 0 or width == 0:
            raise ValueError(f"Selective Search needs an image with pixels, not {width}x{height}")
        working = self._working_image(np.ascontiguousarray(image))
        return self._rank(self._strategies(working), (working.shape[1], working.shape[0]), (width, height))

    def _working_image(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        target = self.config.working_width
        if target is None or target == width:
            return image
        scale = target / width
        if scale > 1:
            scale = max(1.0, min(scale, _MAXIMUM_HEIGHT_TO_WORKING_WIDTH * target / height))
        else:
            # Blur and exact linear interpolation: OpenCV computes both with whole numbers, alike everywhere.
            sigma = 0.5 * (1 / scale - 1)
            if sigma > 0.1:
                image = cv2.GaussianBlur(image, (0, 0), sigma)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR_EXACT)

    def _strategies(self, image: np.ndarray) -> list[np.ndarray]:
        """Boxes of every strategy as in `source_names`, each from the whole image down to superpixels."""
        config = self.config
        size = (image.shape[1], image.shape[0])

        def prepare(space: ColourSpace) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
            planes = colour_planes(image, space)
            return sorted_edges(planes, config.sigma), feature_bins(planes)

        def hierarchies(task: tuple[int, float]) -> list[np.ndarray]:
            edges, bins = prepared[task[0]]
            k = task[1] * config.superpixel_scale
            labels, count = segment(edges, size, k, k * config.minimum_size_scale)
            superpixels = regions(labels, count, bins)
            return [group(superpixels, similarity, size).boxes[::-1] for similarity in config.similarities]

        with ThreadPoolExecutor(self.threads) as pool:
            prepared = self._map(pool, prepare, config.colour_spaces)
            tasks = [(i, k) for i in range(len(config.colour_spaces)) for k in config.ks]
            return [boxes for result in self._map(pool, hierarchies, tasks) for boxes in result]

    def _map(self, pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
        return list((map if self.threads == 1 else pool.map)(function, items))

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
        # np.unique returns the first occurrence of every box, hence its best rank.
        order = order[np.sort(np.unique(boxes[order], axis=0, return_index=True)[1])]
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
    SelectiveSearch(SelectiveSearchConfig(working_width=None))(np.zeros((8, 8, 3), np.uint8))
