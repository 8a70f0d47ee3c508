"""What the notebooks of the course share: the two photos, and figures for slides."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image

PHOTOS = Path(__file__).parents[2] / "tests/photos"
FIGURES = Path("figures")  # every figure as .svg and .png, for slides
plt.rcParams.update(
    {"font.size": 16, "axes.titlesize": 18, "lines.linewidth": 3, "figure.constrained_layout.use": True}
)

cat, astronaut = (np.asarray(Image.open(PHOTOS / f"{name}.jpg").convert("RGB")) for name in ("cat", "astronaut"))


def finish(name):
    """Saves the current figure for slides, and shows it."""
    FIGURES.mkdir(exist_ok=True)
    for ending in ("svg", "png"):
        plt.savefig(FIGURES / f"{name}.{ending}", dpi=100)
    plt.show()


def draw_box(axes, box, color, text=""):
    x1, y1, x2, y2 = box
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=3))
    axes.text(x1 + 3, y1 + 3, text, color="white", backgroundcolor=color, fontsize=12, va="top")
