"""Prior boxes: k-means centers of ground-truth boxes."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from proposals.multibox.config import MultiBoxConfig

# The mean side of the objects that a grid is for, in cells.
_MIN_CELLS, _MAX_CELLS = 0.5, 2.0


def make_priors(boxes: np.ndarray, config: MultiBoxConfig, seed: int = 0) -> np.ndarray:
    """Computes the priors of a configuration by k-means clustering.

    Global form: the cluster centers of the boxes. Grid form: for each grid, the cluster centers of the sizes of boxes
    about as large as a cell (of all boxes if there are too few), placed at the center of every cell; the grid of one
    cell has the mean box.

    Args:
        boxes: (N, 4) ground-truth boxes, xyxy as fractions of the image's sides (0..1).
        seed: seed of the clustering.

    Returns:
        (K, 4) float32, xyxy as fractions of the image's sides, in the order of the network's outputs; in the grid form
        this is grid, row, column, shape.

    Raises:
        ValueError: there are fewer distinct boxes than priors, or a box has no area or exceeds the image.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    wrong = ~((boxes >= 0) & (boxes <= 1)).all(axis=1) | ~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"box {first} {boxes[first].tolist()} has no area or exceeds the image")
    if config.form == "global":
        return _centers(boxes, config.priors, seed, "boxes")
    sizes = boxes[:, 2:] - boxes[:, :2]
    parts = []
    for grid in config.grids:
        if grid == 1:
            parts.append(boxes.mean(axis=0, keepdims=True) if len(boxes) else np.array([[0.0, 0.0, 1.0, 1.0]]))
            continue
        cells = np.sqrt(sizes.prod(axis=1)) * grid
        near = sizes[(cells >= _MIN_CELLS) & (cells <= _MAX_CELLS)]
        enough = len(np.unique(near, axis=0)) >= config.shapes
        shapes = _centers(near if enough else sizes, config.shapes, seed, f"sizes for the grid of {grid}")
        centers = (np.arange(grid) + 0.5) / grid
        y, x = np.meshgrid(centers, centers, indexing="ij")
        middle = np.stack((x, y), axis=-1)[:, :, None]
        parts.append(np.concatenate((middle - shapes / 2, middle + shapes / 2), axis=-1).reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def _centers(points: np.ndarray, count: int, seed: int, what: str) -> np.ndarray:
    """Returns k-means centers (count, D) sorted by area, so that the order is the same on every machine."""
    distinct = len(np.unique(points, axis=0))
    if distinct < count:
        raise ValueError(
            f"{count} priors need at least as many distinct {what}, but there are {distinct}; use fewer priors"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        centers = KMeans(count, n_init=3, random_state=seed).fit(points).cluster_centers_
    size = centers[:, -2:] - centers[:, :-2] if points.shape[1] == 4 else centers
    return centers[np.argsort(size.prod(axis=1), kind="stable")].astype(np.float32)
