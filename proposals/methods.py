"""Proposal methods by name: this package's Selective Search and two other implementations to compare it with."""

import hashlib
import json
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from proposals.config import PRESETS, SelectiveSearchConfig
from proposals.extras import needs_extra
from proposals.names import check_name
from proposals.selective_search import SelectiveSearch
from proposals.types import Proposals, Proposer, checked_image

METHODS = ("selective_search", "opencv", "selectivesearch")
"""Names that `make_proposer` accepts."""


def make_proposer(method: str, preset: str = "fast", seed: int = 0, threads: int = 1) -> Proposer:
    """Creates the proposer for a method name and a preset.

    Args:
        method: `selective_search` (this package's), `opencv` (`OpenCVSelectiveSearch`) or `selectivesearch`
            (`PackageSelectiveSearch`, which has no presets).
        preset: `single`, `fast` or `quality`.
        seed: seed of the ranking; used by `selective_search` only.
        threads: threads per image; used by `selective_search` only.

    Raises:
        ValueError: the method or preset is unknown, or the method is not installed; the message says what to do.
    """
    check_name("method", method, METHODS)
    check_name("preset", preset, PRESETS)
    if method == "opencv":
        return OpenCVSelectiveSearch(preset)
    if method == "selectivesearch":
        return PackageSelectiveSearch()
    return SelectiveSearch(SelectiveSearchConfig.preset(preset, seed=seed), threads)


class OpenCVSelectiveSearch:
    """Selective Search of OpenCV's contrib modules (`cv2.ximgproc`), at the original size of the image.

    Its strategies differ from the paper's (k of 150, 300 and 450, minimum size 100). It returns small boxes first and
    takes no seed; the scores keep its order, so the first N boxes are not the best N.

    Raises:
        ValueError: the installed OpenCV has no contrib modules, or the preset is unknown.
    """

    def __init__(self, preset: str = "fast") -> None:
        if _opencv_segmentation() is None:
            raise ValueError(
                "method opencv needs OpenCV's contrib modules: pip uninstall opencv-python-headless, then "
                "pip install opencv-contrib-python-headless"
            )
        check_name("preset", preset, PRESETS)
        self.preset = preset

    @property
    def fingerprint(self) -> str:
        return _fingerprint("opencv", cv2.__version__, self.preset)

    def __call__(self, image: np.ndarray) -> Proposals:
        image = checked_image(image)
        search = _opencv_segmentation().createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))
        switch = {
            "single": search.switchToSingleStrategy,
            "fast": search.switchToSelectiveSearchFast,
            "quality": search.switchToSelectiveSearchQuality,
        }
        switch[self.preset]()
        left, top, width, height = np.asarray(search.process(), np.int64).reshape(-1, 4).T
        return _in_order(np.stack((left, top, left + width, top + height), axis=1), image, f"opencv/{self.preset}")


def _opencv_segmentation() -> Any:
    """Returns the module or None. The proposer does not store it because modules cannot be pickled."""
    return getattr(getattr(cv2, "ximgproc", None), "segmentation", None)


class PackageSelectiveSearch:
    """The PyPI package `selectivesearch`, with the settings of its example.

    The package's widths and heights are one pixel short, being those from the first to the last pixel; they are
    corrected.

    Raises:
        ValueError: the package is not installed.
    """

    def __init__(self, scale: float = 500, sigma: float = 0.9, min_size: int = 10) -> None:
        try:
            from selectivesearch import selective_search
        except ImportError:
            raise ValueError(needs_extra("method selectivesearch", "benchmark")) from None
        self._search: Callable[..., Any] = selective_search
        self._settings = {"scale": scale, "sigma": sigma, "min_size": min_size}

    @property
    def fingerprint(self) -> str:
        return _fingerprint("selectivesearch", self._settings)

    def __call__(self, image: np.ndarray) -> Proposals:
        image = checked_image(image)
        with warnings.catch_warnings():  # scikit-image warns about the package's arguments
            warnings.simplefilter("ignore")
            try:
                regions = self._search(image, **self._settings)[1]
            except Exception as error:  # several types, for example on images of one color
                reason = f"{type(error).__name__}: {error}"
                raise ValueError(f"selectivesearch cannot process this image ({reason})") from None
        boxes = np.array([region["rect"] for region in regions], np.int64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2] + 1
        return _in_order(boxes, image, "selectivesearch")


def _in_order(boxes: np.ndarray, image: np.ndarray, source: str) -> Proposals:
    """Returns another implementation's boxes in its order, without duplicates and clipped to the image."""
    height, width = image.shape[:2]
    boxes = np.clip(boxes, 0, [width, height, width, height])
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    boxes = boxes[np.sort(np.unique(boxes, axis=0, return_index=True)[1])]
    n = len(boxes)
    scores = (1 / np.arange(1, n + 1)).astype(np.float32)
    return Proposals(boxes.astype(np.float32), scores, np.zeros(n, np.int16), (source,), (width, height))


def _fingerprint(*content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
