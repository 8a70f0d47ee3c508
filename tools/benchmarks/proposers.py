"""Selective Search by name: this package's, and two other implementations to compare it with."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

from proposals import SelectiveSearch, SelectiveSearchConfig


def make_proposer(method: str, preset: str = "fast") -> Callable[[np.ndarray], object]:
    """A function that proposes boxes for an (H, W, 3) uint8 RGB image.

    Args:
        method: `selective_search` (this package's); `opencv`, which has other strategies than the paper (k of 150, 300
            and 450, minimum size 100) and works at the image's full size; or PyPI's `selectivesearch` with the settings
            of its example, which has no presets.
        preset: `single`, `fast` or `quality`; for `selective_search` also `balanced`.

    Raises:
        ImportError: the implementation is not installed.
    """
    if method == "selective_search":
        return SelectiveSearch(SelectiveSearchConfig.preset(preset))
    if method == "selectivesearch":
        from selectivesearch import selective_search

        return partial(selective_search, scale=500, sigma=0.9, min_size=10)
    segmentation: Any = getattr(getattr(cv2, "ximgproc", None), "segmentation", None)
    if segmentation is None:
        raise ImportError("OpenCV has no contrib modules: install opencv-contrib-python-headless in its place")
    strategies = {"single": "SingleStrategy", "fast": "SelectiveSearchFast", "quality": "SelectiveSearchQuality"}

    def run(image: np.ndarray) -> object:
        search = segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))
        getattr(search, f"switchTo{strategies[preset]}")()
        return search.process()

    return run
