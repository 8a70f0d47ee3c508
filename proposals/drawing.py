"""Pictures of proposals: boxes, the levels of a hierarchy, recall against the number of boxes."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from proposals.extras import needs_extra
from proposals.files import atomic_write
from proposals.hierarchy import Hierarchy
from proposals.types import Proposals

# Paul Tol's "bright" and "muted" color schemes, which color-blind readers can tell apart.
_COLORS = (
    *("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377"),
    *("#332288", "#DDCC77", "#CC6677", "#882255", "#44AA99", "#999933"),
)


def draw_proposals(pixels: np.ndarray, proposals: Proposals) -> np.ndarray:
    """Returns a copy of the image (H, W, 3) uint8 RGB with all boxes, the best on top, in one color per source."""
    picture = PillowImage.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    line = max(1, round((picture.width * picture.height) ** 0.5 / 300))
    for (x1, y1, x2, y2), source in zip(proposals.boxes[::-1].tolist(), proposals.sources[::-1].tolist(), strict=True):
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=source_color(source), width=line)
    return np.array(picture)


def source_color(source: int) -> str:
    """Returns the color, "#RRGGBB", of a source (an index into `Proposals.source_names`)."""
    return _COLORS[source % len(_COLORS)]


def draw_segmentation(pixels: np.ndarray, hierarchy: Hierarchy, count: int) -> np.ndarray:
    """Draws the image cut into `count` regions of a hierarchy, each in its mean color, with white borders.

    Args:
        pixels: (H, W, 3) uint8 RGB, the image at the hierarchy's size or larger.

    Returns:
        (h, w, 3) uint8 RGB of the hierarchy's size.

    Raises:
        ValueError: the hierarchy has fewer than `count` superpixels.
    """
    regions = hierarchy.segmentation(count)
    height, width = regions.shape
    small = np.array(PillowImage.fromarray(pixels).resize((width, height)), np.float64)
    flat = regions.reshape(-1)
    sizes = np.maximum(np.bincount(flat), 1)
    means = np.stack([np.bincount(flat, small[:, :, c].reshape(-1)) / sizes for c in range(3)], axis=1)
    picture = means[regions].astype(np.uint8)
    border = np.zeros((height, width), bool)
    border[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    border[1:] |= regions[1:] != regions[:-1]
    picture[border] = 255
    return picture


def draw_levels(pixels: np.ndarray, hierarchy: Hierarchy, panels: int = 6) -> np.ndarray:
    """Draws the image (as in `draw_segmentation`) cut into fewer and fewer regions, from the superpixels down to two:
    at most `panels` pictures, in rows of three."""
    height, width = hierarchy.labels.shape
    counts = np.unique(np.geomspace(hierarchy.superpixels, min(2, hierarchy.superpixels), panels).round().astype(int))
    columns = min(3, len(counts))
    rows = -(-len(counts) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, count in enumerate(counts[::-1].tolist()):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = draw_segmentation(pixels, hierarchy, count)
    return sheet


def plot_recall(curves: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]) -> None:
    """Plots recall and MABO against the number of boxes.

    Args:
        curves: for each method name the `curve` of its `ProposalEvaluation.to_dict`.
        path: file to write, ending in .png, .svg or .pdf.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(needs_extra("the plot", "report")) from None
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = (("recall50", "recall, IoU 0.5"), ("average_recall", "average recall, IoU 0.5 to 0.95"), ("mabo", "MABO"))
    for axes, (key, label) in zip(figure.subplots(1, 3), panels, strict=True):
        for (name, points), color in zip(curves.items(), _COLORS, strict=False):
            axes.plot([p["boxes"] for p in points], [p[key] for p in points], ".-", color=color, label=name)
        axes.set(xscale="log", xlabel="boxes per image", ylabel=label, ylim=(0, 1))
        axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
