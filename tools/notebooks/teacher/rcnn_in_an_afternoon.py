# %% [markdown]
# # R-CNN in an afternoon
#
# In 2014, R-CNN (Girshick et al., "Rich feature hierarchies for accurate object detection and semantic segmentation")
# raised the best mAP on PASCAL VOC 2012 by more than 30 percent. Its idea fits on a slide:
#
# 1. **Propose** some hundred boxes that may hold an object, whatever its class (Selective Search, Uijlings et al.
#    2013).
# 2. **Describe** each box by the features of a convolutional network trained for classification.
# 3. **Classify** the features with one linear classifier per class.
# 4. **Suppress** duplicates, and score the result with average precision.
#
# In this course you write these steps yourself. There are four parts of 60 to 90 minutes. They can be done in any
# order: where a part needs the result of an earlier one, it takes it from the library.
#
# | part | you write | you compare with |
# |---|---|---|
# | 1 Selective Search | histograms, four similarities, greedy grouping | `proposals.grouping` |
# | 2 Are the proposals good? | IoU, ranking, recall, MABO | `proposals.evaluation`, `proposals.SelectiveSearch` |
# | 3 From regions to classes | crop windows, labels, hard negative mining | `detector.ops.crops`, `detector.training` |
# | 4 From scores to detections | NMS, matching, 11-point AP | `detector.ops.nms`, `detector.evaluation` |
#
# **How an exercise works.** A cell defines a function whose body is `raise NotImplementedError`. Replace that line
# with your code, run the cell, then run the check below it. A check compares your answer with this library's on real
# data and prints "right", or it fails and says what differs. NumPy is all you need; no exercise takes more than 20
# lines.
#
# **Boxes** are `(x1, y1, x2, y2)` in pixels, counted from 0. Right and bottom are *exclusive*, so a box is `x2 - x1`
# pixels wide, without any "+ 1".

# %%
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from sklearn.svm import LinearSVC

import detector
from detector.config import CropConfig
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.voc import average_precision, match_voc, voc_average_precision
from detector.models.weights import load_model
from detector.ops.crops import crop_windows, warp_windows
from detector.ops.nms import class_nms
from detector.training.rcnn_heads import mine_svm
from detector.training.recipes import HeadsConfig
from detector.training.targets import match_regions
from proposals import ProposalEvaluation, SelectiveSearch, SelectiveSearchConfig
from proposals.color import color_planes
from proposals.drawing import draw_segmentation
from proposals.evaluation import iou_matrix
from proposals.features import feature_bins
from proposals.grouping import group
from proposals.hierarchy import Hierarchy
from proposals.regions import measure_regions
from proposals.segmentation import segment, sorted_edges

PHOTOS = Path(detector.__file__).parents[1] / "tests/photos"  # of the checkout
FIGURES = Path("figures")  # every figure as .svg and .png, for slides
FIGURES.mkdir(exist_ok=True)
plt.rcParams.update(
    {"font.size": 16, "axes.titlesize": 18, "lines.linewidth": 3, "figure.constrained_layout.use": True}
)


def finish(name):
    """Saves the current figure for slides, and shows it."""
    for ending in ("svg", "png"):
        plt.savefig(FIGURES / f"{name}.{ending}", dpi=100)
    plt.show()


def draw_box(axes, box, color, text=""):
    x1, y1, x2, y2 = box
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=3))
    axes.text(x1 + 3, y1 + 3, text, color="white", backgroundcolor=color, fontsize=12, va="top")


cat, astronaut = (np.asarray(Image.open(PHOTOS / f"{name}.jpg").convert("RGB")) for name in ("cat", "astronaut"))

# %% [markdown]
# # Part 1: Selective Search
#
# A sliding window looks everywhere: in a photo of 500x375 pixels there are more than a billion boxes, and even a
# coarse grid of positions, sizes and shapes has 100,000. A slow but good classifier cannot look at so many. Selective
# Search asks where an object *could* be, and lets the photo answer. It cuts the photo into small regions of even color
# (*superpixels*), then joins the two most similar neighbors, again and again, until one region is left. Every region
# on the way is a candidate, and its bounding box a proposal: from N superpixels come 2N - 1 boxes, small and large.
# (Uijlings et al., "Selective Search for Object Recognition", IJCV 2013, section 3.1 and algorithm 1.)
#
# The superpixels come from the graph-based segmentation of Felzenszwalb and Huttenlocher (IJCV 2004), which the
# library does for you. The paper's settings are the color space HSV, the threshold k = 100 and the smoothing sigma =
# 0.8.

# %%
planes = color_planes(astronaut, "HSV")  # (3, H, W), each channel in 0..255
height, width = planes.shape[1:]
labels, count = segment(sorted_edges(planes, sigma=0.8), (width, height), k=100, minimum_size=100)
[superpixels] = measure_regions([(labels, count)], feature_bins(planes))

print(f"{count} superpixels; the first has {superpixels.sizes[0]} pixels and the box {superpixels.boxes[0]}")
print(f"{len(superpixels.neighbors)} pairs of neighbors; the first: {superpixels.neighbors[0]}")

# %% [markdown]
# Look at the figure: borders follow the edges of objects, but no object is a single superpixel. The face, the suit and
# the flag each consist of many. Grouping has to find out which belong together.

# %%
whole = group(superpixels, "CTSF")  # the library's result, which you will compute yourself at the end of this part
figure, axes = plt.subplots(1, 2, figsize=(14, 7))
axes[0].imshow(astronaut)
axes[0].set_title("photo")
axes[1].imshow(draw_segmentation(astronaut, whole, count))
axes[1].set_title(f"{count} superpixels in their mean color")
for each in axes:
    each.axis("off")
finish("1_superpixels")

# %% [markdown]
# ## Exercise 1.1: the color histogram of a region
#
# Regions are compared by histograms (section 3.2, "complementary similarity measures"). For each color channel, count
# the region's pixels in 25 bins of equal width; a value $v$ in 0..255 belongs to bin $\lfloor 25 v / 256 \rfloor$. Put
# the histograms of the channels one after the other, $C = (c^1, \ldots, c^{75})$ for three channels, and divide by
# their sum (the L1 norm), so that small and large regions can be compared.


# %% tags=["exercise"]
def color_histogram(planes, mask):
    """The normalized color histogram of a region.

    Args:
        planes: (C, H, W) uint8, the color channels.
        mask: (H, W) bool, the pixels of the region.

    Returns:
        (C * 25,) float, channel after channel; the sum is 1.
    """
    # SOLUTION
    histograms = [np.bincount(plane[mask].astype(int) * 25 // 256, minlength=25) for plane in planes]
    joined = np.concatenate(histograms)
    return joined / joined.sum()


# %% tags=["check"]
for region in (0, 7, count - 1):
    expected = superpixels.counts[region, :75] / superpixels.counts[region, :75].sum()
    answer = color_histogram(planes, labels == region)
    assert answer.shape == (75,), f"the shape is {answer.shape}, not (75,)"
    assert np.allclose(answer, expected), f"region {region}: differs in the bins {np.flatnonzero(answer != expected)}"
print("color_histogram: right")

# %% [markdown]
# The texture histogram is made the same way: Gaussian derivatives in 8 directions for each channel, 10 bins each, 240
# numbers for three channels (in the paper, "fast SIFT-like measurements"). The library has counted both, and the cell
# below puts what we know of each superpixel into a `Region`.


# %%
@dataclass
class Region:
    color: np.ndarray  # (75,) histogram with sum 1
    texture: np.ndarray  # (240,) histogram with sum 1
    size: int  # pixels
    box: np.ndarray  # (4,) x1, y1, x2, y2

    @classmethod
    def of(cls, measured, index):
        """A region as the library measured it: `measured` has counts, sizes and boxes."""
        color, texture = measured.counts[index, :75], measured.counts[index, 75:]
        return cls(color / color.sum(), texture / texture.sum(), int(measured.sizes[index]), measured.boxes[index])


area = width * height
regions = [Region.of(superpixels, index) for index in range(count)]

# %% [markdown]
# ## Exercise 1.2: color and texture similarity
#
# Two histograms are as similar as the share of pixels that they have in common, the *histogram intersection*:
#
# $$s_{color}(r_i, r_j) = \sum_{k=1}^{75} \min(c_i^k, c_j^k)$$
#
# $$s_{texture}(r_i, r_j) = \sum_{k=1}^{240} \min(t_i^k, t_j^k)$$
#
# It is 1 for equal histograms and 0 for those without a common bin. One function serves both.


# %% tags=["exercise"]
def intersection(a, b):
    """The intersection of two histograms (n,) of sum 1, a number in 0..1."""
    # SOLUTION
    return np.minimum(a, b).sum()


# %% tags=["check"]
for letter, name in (("C", "color"), ("T", "texture")):
    grouped = group(superpixels, letter)  # grouping by this similarity alone
    both = group(superpixels, "CT")  # has the histograms of all regions, in the order of its merges
    for (a, b), expected in list(zip(grouped.merges, grouped.similarities, strict=True))[:1]:
        answer = intersection(getattr(regions[a], name), getattr(regions[b], name))
        assert np.isclose(answer, expected, atol=2e-3), f"{name}: {answer:.4f}, not {expected:.4f}"
for (a, b), expected in zip(both.merges, both.similarities, strict=True):
    first, second = Region.of(both, a), Region.of(both, b)
    answer = intersection(first.color, second.color) + intersection(first.texture, second.texture)
    assert np.isclose(answer, expected, atol=2e-3), f"color + texture: {answer:.4f}, not {expected:.4f}"
print("intersection: right")

# %% [markdown]
# ## Exercise 1.3: size and fill
#
# Color and texture alone let one region grow until it has swallowed the photo. Two more measures prevent this:
#
# $$s_{size}(r_i, r_j) = 1 - \frac{size(r_i) + size(r_j)}{size(im)}$$
#
# is high for small regions, so that small regions join early and objects of all sizes appear everywhere in the photo.
#
# $$fill(r_i, r_j) = 1 - \frac{size(BB_{ij}) - size(r_i) - size(r_j)}{size(im)}$$
#
# is high for regions that fit into each other: $BB_{ij}$ is the box around both, and what it contains beside them is
# subtracted. A region inside another (a pupil in an eye) fits perfectly; two that merely touch at a corner do not.


# %% tags=["exercise"]
def size_similarity(a, b, area):
    """The size similarity of two regions in a photo of `area` pixels."""
    # SOLUTION
    return 1 - (a.size + b.size) / area


# %% tags=["exercise"]
def fill_similarity(a, b, area):
    """The fill similarity of two regions in a photo of `area` pixels."""
    # SOLUTION
    low, high = np.minimum(a.box[:2], b.box[:2]), np.maximum(a.box[2:], b.box[2:])
    return 1 - (np.prod(high - low) - a.size - b.size) / area


# %% tags=["check"]
for letter, measure in (("S", size_similarity), ("F", fill_similarity)):
    grouped = group(superpixels, letter)
    for (a, b), expected in zip(grouped.merges, grouped.similarities, strict=True):
        first, second = (
            Region(np.zeros(75), np.zeros(240), int(grouped.sizes[index]), grouped.boxes[index]) for index in (a, b)
        )
        answer = measure(first, second, area)
        assert np.isclose(answer, expected, atol=1e-6), f"{measure.__name__}: {answer:.6f}, not {expected:.6f}"
print("size_similarity, fill_similarity: right")

# %% [markdown]
# The figure shows how similar every superpixel is to one on the left shoulder (black outline). Which measure knows the
# suit best? Which measures say nothing about the object at all, and why are they in the sum nevertheless?

# %% tags=["answer"]
chosen = labels[320, 110]
measures = {
    "color": lambda a, b: intersection(a.color, b.color),
    "texture": lambda a, b: intersection(a.texture, b.texture),
    "size": lambda a, b: size_similarity(a, b, area),
    "fill": lambda a, b: fill_similarity(a, b, area),
}
maps = {name: np.array([s(regions[chosen], r) for r in regions])[labels] for name, s in measures.items()}
figure, axes = plt.subplots(1, 4, figsize=(20, 5.5))
for each, (name, values) in zip(axes, maps.items(), strict=True):
    shown = each.imshow(values, cmap="viridis", vmin=0, vmax=1)
    each.contour(labels == chosen, colors="black", linewidths=2)
    each.set_title(name)
    each.axis("off")
figure.colorbar(shown, ax=axes, label="similarity", shrink=0.8)
finish("1_similarities")

# %% [markdown]
# ## Exercise 1.4: the union of two regions
#
# The measures were chosen so that a union needs no second look at the pixels. Its histograms are the mean of those of
# its parts, weighted by their sizes, and so are cheap to compute (section 3.2):
#
# $$C_t = \frac{size(r_i) \cdot C_i + size(r_j) \cdot C_j}{size(r_i) + size(r_j)}$$
#
# $$size(r_t) = size(r_i) + size(r_j)$$


# %% tags=["exercise"]
def union(a, b):
    """The `Region` of two regions together."""
    # SOLUTION
    size = a.size + b.size
    return Region(
        color=(a.size * a.color + b.size * b.color) / size,
        texture=(a.size * a.texture + b.size * b.texture) / size,
        size=size,
        box=np.concatenate((np.minimum(a.box[:2], b.box[:2]), np.maximum(a.box[2:], b.box[2:]))),
    )


# %% tags=["check"]
for number, (a, b) in enumerate(whole.merges):
    expected, answer = Region.of(whole, count + number), union(Region.of(whole, a), Region.of(whole, b))
    for name in ("size", "box", "color", "texture"):
        assert np.allclose(getattr(answer, name), getattr(expected, name)), f"merge {number}: the {name} differs"
print("union: right")

# %% [markdown]
# ## Exercise 1.5: greedy grouping
#
# Now algorithm 1 of the paper:
#
# 1. Compute the similarity of every pair of neighbors.
# 2. Take the pair $(r_i, r_j)$ with the highest similarity, and make their union $r_t$.
# 3. Remove all similarities of $r_i$ and of $r_j$; compute those of $r_t$ with their neighbors.
# 4. Repeat from 2 until no pair is left.
#
# Regions have numbers: the superpixels 0 .. N - 1, the first union N, the next N + 1, and so on. All the bookkeeping
# you need is a dictionary from pairs to similarities; `max(similarities, key=similarities.get)` finds the best pair.
# (The library keeps a heap, which is faster for large photos. Its result is the same.)


# %%
def total_similarity(a, b):
    """The sum of the four measures, as in the paper's `CTSF`."""
    histograms = intersection(a.color, b.color) + intersection(a.texture, b.texture)
    return histograms + size_similarity(a, b, area) + fill_similarity(a, b, area)


# %% tags=["exercise"]
def grouping(regions, neighbors, similarity):
    """Groups regions until one is left (algorithm 1).

    Args:
        regions: list of the N superpixels' `Region`s.
        neighbors: pairs (i, j) of regions that touch each other.
        similarity: function of two `Region`s.

    Returns:
        list of the 2N - 1 regions, the superpixels first, then the unions in the order in which they were made; and the
        list of the N - 1 pairs (i, j) that were merged.
    """
    # SOLUTION
    regions, merges = list(regions), []
    similarities = {(int(i), int(j)): similarity(regions[i], regions[j]) for i, j in neighbors}
    while similarities:
        i, j = max(similarities, key=similarities.get)
        touching = {n for pair in similarities if i in pair or j in pair for n in pair} - {i, j}
        similarities = {pair: s for pair, s in similarities.items() if i not in pair and j not in pair}
        new = len(regions)
        regions.append(union(regions[i], regions[j]))
        merges.append((i, j))
        similarities |= {(n, new): similarity(regions[n], regions[new]) for n in touching}
    return regions, merges


# %% [markdown]
# The check counts how many of your boxes the library also finds. A few may differ: it computes with whole numbers, so
# that every machine gives the same boxes, and where two pairs are almost equally similar it may take the other one.


# %% tags=["check"]
grouped, merges = grouping(regions, superpixels.neighbors, total_similarity)
assert len(grouped) == 2 * count - 1, f"{len(grouped)} regions, not 2N - 1 = {2 * count - 1}"
assert len(merges) == count - 1, f"{len(merges)} merges, not N - 1 = {count - 1}"
assert grouped[-1].size == area, "the last region is not the whole photo"
own_boxes, library_boxes = (
    {tuple(map(int, box)) for box in boxes} for boxes in ([r.box for r in grouped], whole.boxes)
)
share = len(own_boxes & library_boxes) / len(library_boxes)
assert share > 0.97, f"only {share:.1%} of the library's boxes are among yours"
print(f"grouping: right, {share:.1%} of the library's {len(library_boxes)} boxes")

# %% [markdown]
# The figure shows your grouping on its way. Look for the picture in which the suit is one region, and the one in which
# the head is. They are different pictures, so there is no single best number of regions: this is why Selective Search
# keeps *all* levels of the hierarchy.

# %% tags=["answer"]
grouped, merges = grouping(regions, superpixels.neighbors, total_similarity)
tree = Hierarchy(labels, np.array(merges), np.zeros(len(merges)), whole.boxes, whole.sizes, whole.counts)
figure, axes = plt.subplots(1, 4, figsize=(20, 5.5))
for each, left in zip(axes, (100, 50, 25, 12), strict=True):
    each.imshow(draw_segmentation(astronaut, tree, left))
    each.set_title(f"{left} regions")
    each.axis("off")
finish("1_grouping")

# %% [markdown]
# **To discuss.** (a) Group by `F` alone, then by `S` alone, and draw the same four levels. What goes wrong? (b) How
# many similarities does your code compute for N superpixels with about six neighbors each? (c) The paper uses
# 8-connected neighbors. Which regions touch only at a corner, and does it matter?

# %% [markdown]
# # Part 2: Are the proposals good?
#
# No proposal, no detection: an object that no box covers is lost for the rest of the pipeline. The paper therefore
# measures proposals by themselves (section 5), before any classifier sees them. Here are the two photos with objects
# that we annotated for this course.

# %%
OBJECTS = {
    "cat": [
        *[("cat", (0, 0, 370, 300)), ("eye", (135, 85, 210, 148)), ("eye", (297, 107, 345, 163))],
        ("nose", (227, 226, 292, 272)),
    ],
    "astronaut": [
        *[("person", (20, 15, 362, 512)), ("head", (153, 15, 301, 185)), ("patch", (132, 341, 208, 416))],
        *[("patch", (277, 331, 329, 371)), ("shuttle", (345, 0, 456, 281)), ("helmet", (274, 336, 512, 512))],
        ("flag", (0, 0, 105, 330)),
    ],
}
CLASSES = ["cat", "eye", "nose", "person", "head", "patch", "shuttle", "helmet", "flag"]
PIXELS = {"cat": cat, "astronaut": astronaut}
search = SelectiveSearch(SelectiveSearchConfig.preset("fast", working_width=None))  # the library's
object_boxes = {photo: np.array([box for _, box in found], float) for photo, found in OBJECTS.items()}
object_labels = {photo: np.array([CLASSES.index(name) for name, _ in found]) for photo, found in OBJECTS.items()}

# %% [markdown]
# ## Exercise 2.1: intersection over union
#
# How well does a box cover an object? The measure of VOC, and of everyone since, is
#
# $$IoU(a, b) = \frac{area(a \cap b)}{area(a \cup b)}, \qquad area(a \cup b) = area(a) + area(b) - area(a \cap b)$$
#
# It is 1 for equal boxes and 0 for boxes that do not overlap. Compute it for all pairs at once: `boxes[:, None]` has
# the shape (N, 1, 4) and `objects[None]` the shape (1, M, 4), and NumPy extends both to (N, M, 4). Take care of boxes
# that lie apart in both directions: the product of two negative numbers is positive.


# %% tags=["exercise"]
def iou(boxes, objects):
    """The IoU (N, M) of boxes (N, 4) and objects (M, 4)."""
    # SOLUTION
    low = np.maximum(boxes[:, None, :2], objects[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], objects[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas, object_areas = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, objects))
    return shared / (areas[:, None] + object_areas - shared)


# %% tags=["check"]
rng = np.random.default_rng(0)
corners = rng.uniform(0, 100, (2, 60, 2))
random_boxes = np.concatenate((corners[0], corners[0] + rng.uniform(5, 60, (60, 2))), axis=1)
answer, expected = iou(random_boxes[:40], random_boxes[40:]), iou_matrix(random_boxes[:40], random_boxes[40:])
assert answer.shape == (40, 20), f"the shape is {answer.shape}, not (40, 20)"
assert np.allclose(answer, expected), f"the largest difference is {np.abs(answer - expected).max():.3f}"
print("iou: right")

# %% [markdown]
# ## Exercise 2.2: many strategies, one list
#
# One grouping makes mistakes that another does not. Selective Search therefore runs several (section 3.2: other color
# spaces, other similarities, other starting regions k) and puts all boxes together. The paper's `fast` preset has 8
# such strategies, `quality` has 80. Which boxes come first? Large regions are made late in the grouping and are more
# often objects, but ranking by size alone would put thousands of large boxes first. The paper ranks by chance, with a
# weight:
#
# - Within a strategy, region $i$ has the position $i$; the last union (the whole photo) has position 1, the one made
#   before it 2, and so on.
# - Its value is $v_i = RND \cdot i$ with a random number $RND$ in 0..1. Lower values come first.
# - Of equal boxes, the first stays.
#
# Boxes with a side shorter than 20 pixels are dropped, as in the library.


# %% tags=["exercise"]
def rank(strategies, draws, minimum_side=20):
    """Ranks the boxes of several strategies.

    Args:
        strategies: for each strategy its boxes (N, 4), the whole photo first, the superpixels last.
        draws: for each strategy the random numbers (N,) in 0..1.
        minimum_side: boxes with a shorter side are dropped.

    Returns:
        (M, 4) distinct boxes, best first.
    """
    # SOLUTION
    values = np.concatenate([np.arange(1, len(each) + 1) * each for each in draws])
    boxes = np.concatenate(strategies)
    large = (boxes[:, 2:] - boxes[:, :2] >= minimum_side).all(axis=1)
    ordered = boxes[large][np.argsort(values[large], kind="stable")]
    _, first = np.unique(ordered, axis=0, return_index=True)
    return ordered[np.sort(first)]


# %% tags=["check"]
strategies = [hierarchy.boxes[::-1] for hierarchy in search.hierarchies(cat)]
draws = [1 - np.random.default_rng([0, number]).random(len(boxes)) for number, boxes in enumerate(strategies)]
answer, expected = rank(strategies, draws), search(cat).boxes
assert answer.shape == expected.shape, f"{len(answer)} boxes, not {len(expected)}"
assert np.array_equal(answer, expected), f"differs from box {np.flatnonzero((answer != expected).any(axis=1))[0]} on"
print(f"rank: right, {len(answer)} boxes of {len(strategies)} strategies")

# %% [markdown]
# ## Exercise 2.3: recall, and mean average best overlap
#
# For each object $g$ let $best(g) = \max_l IoU(g, l)$ be the IoU of the best proposal. Two numbers sum this up:
#
# - **Recall** at a threshold is the share of objects with $best(g) \ge$ the threshold. VOC's threshold is 0.5.
# - **ABO**, average best overlap, is the mean of $best(g)$ over the objects of a class; **MABO** is the mean of ABO
#   over the classes (section 5). It needs no threshold, and a frequent class counts no more than a rare one.


# %% tags=["exercise"]
def recall(best, threshold):
    """The share of objects whose best overlap (G,) is at least `threshold`."""
    # SOLUTION
    return np.mean(best >= threshold)


# %% tags=["exercise"]
def mabo(best, labels):
    """The mean average best overlap of objects with best overlaps (G,) and classes (G,)."""
    # SOLUTION
    return np.mean([best[labels == label].mean() for label in np.unique(labels)])


# %% tags=["check"]
evaluation, best = ProposalEvaluation(CLASSES), []
for photo, pixels in PIXELS.items():
    found = search(pixels)
    evaluation.add(found, object_boxes[photo], object_labels[photo])
    best.append(iou_matrix(found.boxes, object_boxes[photo]).max(axis=0))
best, all_labels = np.concatenate(best), np.concatenate(list(object_labels.values()))
expected = evaluation.coverage()
edges = np.array([0.5, 0.4, 0.7, 0.5])  # an IoU of exactly 0.5 counts
for answer, right, name in (
    (recall(best, 0.5), expected.recall50, "recall at 0.5"),
    (recall(best, 0.7), expected.recall70, "recall at 0.7"),
    (recall(edges, 0.5), 0.75, "recall at exactly 0.5"),
    (mabo(best, all_labels), expected.mabo, "MABO"),
):
    assert np.isclose(answer, right), f"{name}: {answer:.4f}, not {right:.4f}"
print(
    f"recall, mabo: right; recall50 {expected.recall50:.3f}, recall70 {expected.recall70:.3f}, MABO {expected.mabo:.3f}"
)

# %% [markdown]
# The figure compares one strategy with eight, against the number of boxes that the classifier will have to look at.
# With a few boxes, one strategy covers more than eight; why? (Think of how the lists are mixed.) With 100 boxes both
# have found all objects, and recall cannot tell them apart any more. What does MABO say about the boxes that follow?
# Eleven objects are too few for numbers to publish: the paper has thousands.

# %% tags=["answer"]
figure, axes = plt.subplots(1, 2, figsize=(16, 6), sharex=True)
for preset in ("single", "fast"):
    searcher = SelectiveSearch(SelectiveSearchConfig.preset(preset, working_width=None))
    overlaps = [iou(searcher(pixels).boxes.astype(float), object_boxes[photo]) for photo, pixels in PIXELS.items()]
    numbers = np.unique(np.geomspace(1, max(map(len, overlaps)), 40).astype(int))
    covered = [np.concatenate([each[:number].max(axis=0) for each in overlaps]) for number in numbers]
    axes[0].plot(numbers, [recall(each, 0.5) for each in covered], label=preset)
    axes[1].plot(numbers, [mabo(each, all_labels) for each in covered], label=preset)
for each, name in zip(axes, ("recall, IoU 0.5", "MABO"), strict=True):
    each.set(xscale="log", ylim=(0, 1.02), xlabel="boxes per photo", ylabel=name)
    each.grid(alpha=0.4)
axes[0].legend(loc="lower right")
finish("2_recall")

# %% [markdown]
# Which objects are found badly? For each object (green) the best proposal (orange) and its IoU. Objects whose parts
# differ in color (a flag, a person with face and suit) are hard for a method that joins what is similar.

# %% tags=["answer"]
figure, axes = plt.subplots(1, 2, figsize=(16, 7))
for each, (photo, pixels) in zip(axes, PIXELS.items(), strict=True):
    boxes = search(pixels).boxes.astype(float)
    overlaps = iou(boxes, object_boxes[photo])
    each.imshow(pixels)
    each.axis("off")
    for number, target in enumerate(object_boxes[photo]):
        draw_box(each, target, "tab:green")
        draw_box(each, boxes[overlaps[:, number].argmax()], "tab:orange", f"{overlaps[:, number].max():.2f}")
finish("2_best_boxes")

# %% [markdown]
# **To discuss.** (a) A method returns every possible box: what are its recall and its MABO? Why is the number of boxes
# always given beside them? (b) Which of your objects has the lowest best overlap, and which diversification would
# help? (c) Run `SelectiveSearchConfig.preset("quality")`. Is its gain worth the time that a classifier then needs?

# %% [markdown]
# # Part 3: From regions to classes
#
# R-CNN's insight (section 2.1): the features that a convolutional network learns for ImageNet's classification also
# describe the content of a *box*, if the box is warped to the size of the network's input.
#
# Two photos cannot train a classifier, so the next cell makes scenes: heads and the helmet, cut out of the photos,
# turned, mirrored and resized, in front of colored clutter, beside pieces of fur, suit and shuttle that are no
# objects. **This is a toy**: training and test scenes show the same cat. It is enough to see each step work, but its
# numbers say nothing about cats in general.

# %%
NAMES = ["cat", "person", "helmet"]
PIECES = [(cat, (25, 0, 370, 300)), (astronaut, (150, 8, 305, 190)), (astronaut, (275, 336, 511, 511))]
PIECES += [(cat, (10, 150, 170, 300)), (astronaut, (50, 290, 270, 510)), (astronaut, (345, 0, 456, 281))]  # no objects
SIZE = (240, 180)


def clutter(rng):
    """A background with colored shapes."""
    picture = Image.new("RGB", SIZE, tuple(rng.integers(60, 200, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(9):
        x, y = rng.integers(-20, SIZE[0]), rng.integers(-20, SIZE[1])
        box = [int(x), int(y), int(x + rng.integers(20, 90)), int(y + rng.integers(20, 90))]
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape(box, fill=tuple(rng.integers(30, 230, 3).tolist()))
    noise = rng.normal(0, 6, (SIZE[1], SIZE[0], 3))
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.2)), float)
    return Image.fromarray(np.clip(blurred + noise, 0, 255).astype(np.uint8))


def make_scene(seed):
    """A scene: pixels (H, W, 3), boxes (G, 4) and labels (G,) of its objects."""
    rng = np.random.default_rng(seed)
    picture, boxes, labels = clutter(rng), [], []
    for first in (True, False, False, False):
        label, side = int(rng.integers(len(NAMES) if first else len(PIECES))), int(rng.integers(50, 105))
        pixels, part = PIECES[label]
        piece = Image.fromarray(pixels).crop(part)
        piece = piece.resize((side, int(side * piece.height / piece.width * rng.uniform(0.9, 1.1))))
        mask = Image.new("L", piece.size)
        ImageDraw.Draw(mask).ellipse((0, 0, piece.width - 1, piece.height - 1), fill=255)
        if rng.random() < 0.5:
            piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        piece = ImageEnhance.Brightness(piece).enhance(rng.uniform(0.7, 1.3))
        angle = rng.uniform(-15, 15)
        piece, mask = piece.rotate(angle, expand=True), mask.rotate(angle, expand=True)
        left, top = (int(rng.integers(0, max(1, SIZE[i] - piece.size[i]))) for i in range(2))
        box = np.add(mask.point(lambda value: 255 * (value > 127)).getbbox(), (left, top, left, top)).astype(float)
        if boxes and iou_matrix(box[None], np.array(boxes)).max() > 0.1:
            continue
        picture.paste(piece, (left, top), mask)
        boxes.append(np.minimum(box, (*SIZE, *SIZE)))
        labels.append(label)
    objects = np.array(labels) < len(NAMES)
    return np.asarray(picture), np.array(boxes)[objects], np.array(labels)[objects]


train, test = [make_scene(seed) for seed in range(12)], [make_scene(seed) for seed in range(100, 108)]
figure, axes = plt.subplots(1, 4, figsize=(20, 4.5))
for each, (pixels, boxes, classes) in zip(axes, train, strict=False):
    each.imshow(pixels)
    each.axis("off")
    for box, label in zip(boxes, classes, strict=True):
        draw_box(each, box, "tab:green", NAMES[label])
finish("3_scenes")

# %% [markdown]
# The regions of the scenes come from the library's Selective Search, with a single strategy so that the course stays
# fast. For training, the first 50 of a scene are enough.

# %%
few = SelectiveSearch(SelectiveSearchConfig(color_spaces=("HSV",), similarities=("CTSF",), ks=(50,)))
train_regions = [few(pixels).top(50).boxes.astype(float) for pixels, _, _ in train]
test_regions = [few(pixels).boxes.astype(float) for pixels, _, _ in test]
print(f"{sum(map(len, train_regions))} regions in {len(train)} training scenes")
print(f"{sum(map(len, test_regions))} regions in {len(test)} test scenes")

# %% [markdown]
# ## Exercise 3.1: the window of a crop
#
# The network takes squares of one size $m$; regions have any shape. R-CNN warps a region to the square whatever its
# aspect ratio, and shows some of its surroundings: $p$ pixels of *context* on each side, counted **in the square**
# (appendix A). So the region itself fills $m - 2p$ of the $m$ pixels, and the window to cut out of the photo is larger
# than the region by the factor $m / (m - 2p)$, around the same center. Round the window's corners to whole pixels,
# halves up: $\lfloor x + 0.5 \rfloor$. A window may reach beyond the photo; there the crop shows the mean color.


# %% tags=["exercise"]
def windows(boxes, size, context):
    """The windows (N, 4) that the crops of boxes (N, 4) show.

    Args:
        size: side of the square crop in pixels.
        context: pixels of the crop on each side of the region.
    """
    # SOLUTION
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = half * size / (size - 2 * context)
    return np.floor(np.concatenate((center - half, center + half), axis=1) + 0.5)


# %% tags=["check"]
some = train_regions[0]
for size, context in ((224, 16), (96, 8), (96, 0)):
    expected = crop_windows(torch.tensor(some), CropConfig(size=size, context=context)).numpy()
    answer = windows(some, size, context)
    assert answer.shape == expected.shape, f"the shape is {answer.shape}, not {expected.shape}"
    wrong = np.flatnonzero((answer != expected).any(axis=1))  # a few exact halves may be a bit below or above
    assert len(wrong) < 5, f"size {size}: box {some[wrong[0]]} gives {answer[wrong[0]]}, not {expected[wrong[0]]}"
print("windows: right")

# %% [markdown]
# The figure shows regions of a scene and their crops with your windows. People and cats are stretched or squeezed, and
# the network has to cope; the paper found this better than keeping the aspect ratio.

# %% tags=["answer"]
number = max(range(len(train)), key=lambda index: len(train[index][1]))  # the scene with most objects
pixels, boxes, _ = train[number]
overlaps = iou_matrix(train_regions[number], boxes)
chosen_regions = train_regions[number][[*overlaps.argmax(axis=0), *overlaps.max(axis=1).argsort()[:2]]][:4]
cut = torch.tensor(windows(chosen_regions, 96, 8)).float()
crops = warp_windows(torch.tensor(pixels).permute(2, 0, 1).float() - 114, cut, 96) + 114
figure, axes = plt.subplots(1, 1 + len(chosen_regions), figsize=(20, 4.5))
axes[0].imshow(pixels)
for number, (region, crop) in enumerate(zip(chosen_regions, crops, strict=True)):
    draw_box(axes[0], region, "tab:orange", str(number + 1))
    axes[number + 1].imshow(crop.permute(1, 2, 0).numpy().astype(np.uint8))
    axes[number + 1].set_title(f"crop {number + 1}")
for each in axes:
    each.axis("off")
finish("3_crops")

# %% [markdown]
# Next the features. The shipped model `voc07` is a GoogLeNet (Szegedy et al. 2014); `network.features` runs its
# convolutions, and the mean over all positions describes a crop by 1,024 numbers, as the average pool in the GoogLeNet
# paper does. Each region passes the network by itself. Note the time it takes: you will meet it again in part 4.

# %%
network = load_model("voc07").network
CROPS = CropConfig(size=96, context=8)


@torch.inference_mode()
def describe(pixels, boxes):
    """Features (N, 1024) of the boxes (N, 4) of a picture (H, W, 3), each scaled to a mean length of 20."""
    image = torch.tensor(pixels).permute(2, 0, 1).float() - network.mean[0]
    crops = warp_windows(image, crop_windows(torch.tensor(boxes), CROPS), CROPS.size) + network.mean
    parts = [network.features(batch).mean(dim=(2, 3)) for batch in crops.split(16)]
    features = torch.cat(parts).numpy()
    return features * 20 / np.linalg.norm(features, axis=1).mean()


# The objects themselves are examples too, as in the paper: they come first.
train_boxes = [np.concatenate((boxes, found)) for (_, boxes, _), found in zip(train, train_regions, strict=True)]
train_features = np.concatenate([describe(scene[0], boxes) for scene, boxes in zip(train, train_boxes, strict=True)])
start = time.perf_counter()
test_features = [describe(scene[0], boxes) for scene, boxes in zip(test, test_regions, strict=True)]
crop_seconds = (time.perf_counter() - start) / len(test)
print(f"{len(train_features)} training regions; {crop_seconds:.2f} s for the regions of a test scene")

# %% [markdown]
# ## Exercise 3.2: what is a region an example of?
#
# A region rarely fits an object exactly. For the classifier of a class, the IoU with the *objects of this class*
# decides what it is an example of (section 2.3 and appendix B):
#
# - IoU of at least 0.5 with one of them: a positive, 1. (R-CNN's SVMs take the annotated boxes alone; we have too
#   few.)
# - IoU below 0.3 with all of them: a negative, 0. The paper found 0.3 on a validation set, and notes that 0.5 would
#   have cost 5 points of mAP.
# - In between: neither, -1. Half a cat is no good example of a cat, and no good example of background either.
#
# Note what this makes of a region on a helmet: for the class cat it is a negative, and a valuable one. A photo may
# hold no object of the class at all; then all its regions are negatives.


# %% tags=["exercise"]
def label_regions(overlaps, labels, label):
    """What regions are for the classifier of a class: 1 positive, 0 negative, -1 neither; (N,) int.

    Args:
        overlaps: (N, G) IoU of the regions with the objects.
        labels: (G,) classes of the objects.
        label: the class of the classifier.
    """
    # SOLUTION
    best = overlaps[:, labels == label].max(axis=1, initial=0)
    return np.where(best >= 0.5, 1, np.where(best < 0.3, 0, -1))


# %% tags=["check"]
for (_, boxes, classes), found in zip(train, train_boxes, strict=True):
    overlaps = iou_matrix(found, boxes)
    targets = match_regions(*map(torch.tensor, (found, boxes, classes, np.zeros(len(boxes), bool))))
    for label, name in enumerate(NAMES):
        answer = label_regions(overlaps, classes, label)
        positive = targets.labels.numpy() == label + 1  # the library's positives; it takes all others as background
        assert np.array_equal(answer == 1, positive), f"{name}: {np.sum(answer == 1)} positives, not {positive.sum()}"
        far = ~(overlaps[:, classes == label] >= 0.3).any(axis=1)
        assert np.array_equal(answer == 0, far), f"{name}: {np.sum(answer == 0)} negatives, not {far.sum()}"
edge = label_regions(np.array([[0.5, 0.1], [0.3, 0.2], [0.1, 0.9]]), np.array([2, 0]), 2)
assert np.array_equal(edge, [1, -1, 0]), f"IoU 0.5, 0.3 and 0.1 with a class give {edge}, not [1 -1 0]"
print("label_regions: right")

# %% [markdown]
# ## Exercise 3.3: hard negative mining
#
# Nearly all regions are background, far too many to train on at once. Most are easy, and change nothing about a
# support vector machine: only negatives inside the margin, with a score above -1, do. So one starts with a few, and
# adds those that the classifier gets wrong:
#
# 1. Fit the classifier to the positives and the negatives used so far (at first the first 100).
# 2. Find the *hard* negatives: not used yet, and scored above -1.
# 3. None left? Done. Otherwise use them too, and repeat, at most 10 times.
#
# `fit_svm(positive, negative)` is scikit-learn's linear SVM with R-CNN's settings. It returns the weights `w` (1024,)
# and the bias `b`; a region with features `x` has the score `x @ w + b`.

# %%
SETTINGS = HeadsConfig(svm_c=0.01)


def fit_svm(positive, negative):
    """The weights (1024,) and the bias of a linear SVM."""
    svm = LinearSVC(
        C=SETTINGS.svm_c, loss="hinge", class_weight={1: 2.0}, intercept_scaling=10.0, random_state=0, max_iter=5000
    )
    svm.fit(np.concatenate((positive, negative)), np.repeat([1, 0], [len(positive), len(negative)]))
    return svm.coef_[0], svm.intercept_[0]


def examples(label):
    """Features of the positives and of the negatives of a class, by your `label_regions`."""
    labels = [label_regions(iou_matrix(found, s[1]), s[2], label) for s, found in zip(train, train_boxes, strict=True)]
    labels = np.concatenate(labels)
    return train_features[labels == 1], train_features[labels == 0]


# %% tags=["exercise"]
def mine(positive, negative, fit, first=100):
    """Fits a classifier by hard negative mining.

    Args:
        positive, negative: features (P, 1024) and (N, 1024).
        fit: function of positives and negatives that returns weights and bias.
        first: number of negatives to start with.

    Returns:
        The weights, the bias, and (N,) bool, which negatives were used.
    """
    # SOLUTION
    used = np.arange(len(negative)) < first
    for _ in range(10):
        w, b = fit(positive, negative[used])
        hard = (negative @ w + b > -1) & ~used
        if not hard.any():
            break
        used |= hard
    return w, b, used


# %% tags=["check"]
for label, name in enumerate(NAMES):
    positive, negative = examples(label)
    sizes = []
    w, b, used = mine(positive, negative, lambda p, n: (sizes.append(len(n)), fit_svm(p, n))[1])  # noqa: B023
    left = negative[~used] @ w + b
    reference, bias, *_ = mine_svm(positive, negative, SETTINGS)
    agree = np.mean((train_features @ w + b > 0) == (train_features @ reference + bias > 0))
    assert sizes[0] == 100, f"{name}: the first fit has {sizes[0]} negatives, not 100"
    assert sizes[-1] < len(negative), f"{name}: all {len(negative)} negatives were used, not only hard ones"
    assert (left <= -1).all(), f"{name}: {np.sum(left > -1)} negatives above -1 were left out"
    assert agree > 0.99, f"{name}: the library's classifier decides {1 - agree:.1%} of the regions otherwise"
    print(f"mine: right for {name}; {sizes} of {len(negative)} negatives, {agree:.1%} as the library")

# %% [markdown]
# What did the classifier learn? The regions of a test scene, colored by the score for each class: sum up the scores of
# all regions over a pixel, and the objects light up. Look at the borders: many regions around an object have a good
# score, and only one of them should be left. That is part 4.

# %% tags=["answer"]
classifiers = [mine(*examples(label), fit_svm) for label in range(len(NAMES))]
figure, axes = plt.subplots(2, 4, figsize=(20, 9))
for row, number in zip(axes, (1, 3), strict=True):
    row[0].imshow(test[number][0])
    row[0].set_title("test scene")
    heats = np.zeros((len(NAMES), *SIZE[::-1]))
    for heat, (w, b, _) in zip(heats, classifiers, strict=True):
        scores = test_features[number] @ w + b
        for (x1, y1, x2, y2), score in zip(test_regions[number].astype(int), scores, strict=True):
            heat[y1:y2, x1:x2] += max(0, score + 1) / ((x2 - x1) * (y2 - y1)) ** 0.5
    for each, heat, name in zip(row[1:], heats, NAMES, strict=True):
        each.imshow(heat, cmap="magma", vmin=0, vmax=heats.max())
        each.set_title(name)
    for each in row:
        each.axis("off")
finish("3_scores")

# %% [markdown]
# **To discuss.** (a) Set the context to 0 and look at the crops. What does the network lose? (b) Label regions between
# 0.3 and 0.5 as background, and compare the scores on test scenes. (c) R-CNN fine-tunes the network on the crops, with
# other thresholds (appendix B). Why might one want 0.5 there?

# %% [markdown]
# # Part 4: From scores to detections
#
# This part starts with classifiers that the library trained on the regions of part 3, one per class. For each test
# scene it has regions and, for each class, scores.

# %%
svms = []
for label in range(len(NAMES)):
    positive, negative = [], []
    for (_, boxes, classes), found in zip(train, train_boxes, strict=True):
        targets = match_regions(*map(torch.tensor, (found, boxes, classes, np.zeros(len(boxes), bool))))
        positive.append(targets.labels.numpy() == label + 1)
        negative.append(iou_matrix(found, boxes[classes == label]).max(axis=1, initial=0) < SETTINGS.svm_negative_iou)
    rows = [train_features[np.concatenate(chosen)] for chosen in (positive, negative)]
    svms.append(mine_svm(*rows, SETTINGS)[:2])
weights, biases = np.stack([w for w, _ in svms], axis=1), np.array([b for _, b in svms])
test_scores = [features @ weights + biases for features in test_features]  # for each scene (N, 3)
print(f"scene 1: {len(test_regions[1])} regions, scores up to", test_scores[1].max(axis=0).round(2))

# %% [markdown]
# ## Exercise 4.1: non-maximum suppression
#
# One cat, many good boxes. R-CNN keeps the best and rejects a region "if it has an IoU overlap with a higher scoring
# selected region larger than a learned threshold" (section 2.2), for each class by itself:
#
# 1. Go through the boxes from the highest score to the lowest.
# 2. Keep a box, unless one that you kept before overlaps it by more than the threshold.
#
# Mind the word *selected*: a box that was suppressed suppresses nothing.


# %% tags=["exercise"]
def nms(boxes, scores, threshold):
    """The indices of the boxes (N, 4) that non-maximum suppression keeps, best first."""
    # SOLUTION
    overlaps, kept = iou_matrix(boxes, boxes), []
    for index in np.argsort(-scores, kind="stable"):
        if not (overlaps[index, kept] > threshold).any():
            kept.append(int(index))
    return np.array(kept, int)


# %% tags=["check"]
for boxes, scores in zip(test_regions, test_scores, strict=True):
    for label in range(len(NAMES)):
        for threshold in (0.1, 0.3, 0.7):
            one_class = torch.zeros(len(boxes), dtype=torch.long)
            expected = class_nms(torch.tensor(boxes), torch.tensor(scores[:, label]), one_class, threshold).tolist()
            answer = list(nms(boxes, scores[:, label], threshold))
            assert answer == expected, f"threshold {threshold}: keeps {answer[:5]}..., not {expected[:5]}..."
print("nms: right")

# %% [markdown]
# The figure shows what the classifier for cats likes (left, up to 15 boxes that score above -1), and what your
# suppression leaves.

# %% tags=["answer"]
number, label = next((i, 0) for i, scene in enumerate(test) if 0 in scene[2])
pixels, boxes, scores = test[number][0], test_regions[number], test_scores[number][:, label]
best = [index for index in np.argsort(-scores)[:15] if scores[index] > -1]
left = [index for index in nms(boxes, scores, 0.3) if scores[index] > -1]
figure, axes = plt.subplots(1, 2, figsize=(15, 6))
for each, shown, title in zip(axes, (best, left), ("before NMS", "after NMS"), strict=True):
    each.imshow(pixels)
    each.set_title(f"{NAMES[label]}, {title}: {len(shown)} boxes")
    each.axis("off")
    for index in reversed(shown):
        draw_box(each, boxes[index], "tab:orange", f"{scores[index]:.1f}" if title == "after NMS" else "")
finish("4_nms")

# %% [markdown]
# ## Exercise 4.2: true and false positives
#
# To evaluate a class, VOC sorts its detections *of all images* by score and decides for each whether it is right
# (Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010, section 4.2):
#
# - A detection takes the object of its image with the highest IoU, if that is at least 0.5. Otherwise it is a false
#   positive.
# - The first detection that takes an object is a true positive. Each later one of the same object is a **false
#   positive**: finding a cat twice is a mistake.


# %% tags=["exercise"]
def true_positives(scores, images, boxes, object_images, object_boxes):
    """Which detections of a class are true positives, from the highest score to the lowest.

    Args:
        scores, images, boxes: (D,), (D,) and (D, 4) of the detections, in any order; `images` are numbers.
        object_images, object_boxes: (G,) and (G, 4) of the objects.

    Returns:
        (D,) bool, in the order of the scores.
    """
    # SOLUTION
    overlaps = iou_matrix(boxes, object_boxes) * (images[:, None] == object_images)
    answer, taken = [], set()
    for index in np.argsort(-scores, kind="stable"):
        target = overlaps[index].argmax()
        answer.append(overlaps[index, target] >= 0.5 and target not in taken)
        if overlaps[index, target] >= 0.5:
            taken.add(target)
    return np.array(answer, bool)


# %% tags=["check"]
rng = np.random.default_rng(1)
for _ in range(20):  # made-up detections near the objects, many of them double
    object_images = np.sort(rng.integers(0, 4, 12))
    corner = rng.uniform(0, 80, (12, 2))
    targets = np.concatenate((corner, corner + rng.uniform(20, 50, (12, 2))), axis=1)
    which = rng.integers(0, 12, 40)
    guesses, scores = targets[which] + rng.uniform(-9, 9, (40, 4)), rng.random(40)
    data = {"image_ids": ("a", "b", "c", "d"), "class_names": ("cat",)}
    truth = GroundTruth(**data, images=object_images, labels=np.zeros(12, int), boxes=targets)
    table = DetectionTable(**data, images=object_images[which], labels=np.zeros(40, int), boxes=guesses, scores=scores)
    matches = match_voc(truth, table)[0.5]
    expected = matches.true_positive[matches.order]
    answer = true_positives(scores, object_images[which], guesses, object_images, targets)
    assert answer.shape == expected.shape, f"the shape is {answer.shape}, not {expected.shape}"
    wrong = np.flatnonzero(answer != expected)
    assert len(wrong) == 0, f"detection {wrong[0]} by score is {bool(expected[wrong[0]])}, not {bool(answer[wrong[0]])}"
print("true_positives: right")

# %% [markdown]
# ## Exercise 4.3: average precision
#
# After the first $n$ detections, **precision** is the share of them that are true positives, and **recall** the share
# of objects they have found. Lowering the threshold of the score finds more and errs more; average precision sums up
# this trade-off. VOC 2007 takes 11 points:
#
# $$AP = \frac{1}{11} \sum_{r \in \{0, 0.1, \ldots, 1\}} \max_{\tilde r \ge r} p(\tilde r)$$
#
# In words: for each level of recall, the *highest precision at that recall or beyond*, and 0 for levels that are never
# reached. Use `np.arange(11) * 0.1` for the levels, as the evaluators in use do.


# %% tags=["exercise"]
def average_precision_11(hits, objects):
    """VOC 2007's average precision.

    Args:
        hits: (D,) bool, which detections are true positives, from the highest score to the lowest.
        objects: number of objects.
    """
    # SOLUTION
    found = np.cumsum(hits)
    precision, recall = found / np.arange(1, len(hits) + 1), found / objects
    return np.mean([precision[recall >= level].max(initial=0) for level in np.arange(11) * 0.1])


# %% tags=["check"]
rng = np.random.default_rng(2)
for objects in (1, 3, 10, 17):
    for share in (0.1, 0.5, 0.9, 1.0):
        hits = rng.random(30) < share
        hits &= np.cumsum(hits) <= objects  # no more hits than objects
        answer, expected = average_precision_11(hits, objects), average_precision(hits, objects, "voc07")
        assert np.isclose(answer, expected), f"{objects} objects: {answer:.4f}, not {expected:.4f}"
print("average_precision_11: right")

# %% [markdown]
# ## The whole R-CNN
#
# The last cells put your functions together: for each test scene and class NMS, then matching and AP over all scenes.
# The library evaluates the same detections beside it; the numbers must be equal.


# %% tags=["answer"]
def detections_of(label, threshold=0.3):
    """Scores, images and boxes of all detections of a class after NMS."""
    kept = [nms(boxes, scores[:, label], threshold) for boxes, scores in zip(test_regions, test_scores, strict=True)]
    scores = np.concatenate([all_scores[k, label] for all_scores, k in zip(test_scores, kept, strict=True)])
    images = np.repeat(np.arange(len(test)), [len(k) for k in kept])
    return scores, images, np.concatenate([boxes[k] for boxes, k in zip(test_regions, kept, strict=True)])


truth = GroundTruth(
    image_ids=tuple(range(len(test))),
    class_names=tuple(NAMES),
    images=np.repeat(np.arange(len(test)), [len(boxes) for _, boxes, _ in test]),
    labels=np.concatenate([classes for _, _, classes in test]),
    boxes=np.concatenate([boxes for _, boxes, _ in test]),
)
figure, axes = plt.subplots(figsize=(9, 7))
own, columns = {}, {"scores": [], "images": [], "boxes": [], "labels": []}
for label, name in enumerate(NAMES):
    scores, images, boxes = detections_of(label)
    objects = truth.labels == label
    hits = true_positives(scores, images, boxes, truth.images[objects], truth.boxes[objects])
    own[name] = average_precision_11(hits, objects.sum())
    found = np.cumsum(hits)
    axes.plot(found / objects.sum(), found / np.arange(1, len(hits) + 1), label=f"{name}, AP {own[name]:.2f}")
    for column, values in zip(columns.values(), (scores, images, boxes, np.full(len(scores), label)), strict=True):
        column.append(values)
axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="recall", ylabel="precision", title="VOC 2007, IoU 0.5")
axes.grid(alpha=0.4)
axes.legend(loc="lower left")
finish("4_precision_recall")
table = DetectionTable(
    image_ids=truth.image_ids,
    class_names=truth.class_names,
    **{name: np.concatenate(values) for name, values in columns.items()},
)
reference = voc_average_precision(truth, table, "voc07")
for name in NAMES:
    print(f"{name:8} yours {own[name]:.4f}   library {reference.ap[name]:.4f}")
    assert np.isclose(own[name], reference.ap[name])
print(f"mAP      yours {np.mean(list(own.values())):.4f}   library {reference.mean_ap:.4f}")

# %% [markdown]
# And the detections themselves, those that score above 0, in four test scenes. Objects are green where a box is
# missing. Which mistakes come from Selective Search (no region fits), and which from the classifier?

# %% tags=["answer"]
figure, axes = plt.subplots(1, 4, figsize=(20, 4.5))
for each, number in zip(axes, range(4), strict=True):
    each.imshow(test[number][0])
    each.axis("off")
    for box in test[number][1]:
        draw_box(each, box, "tab:green")
    for label, name in enumerate(NAMES):
        scores, boxes = test_scores[number][:, label], test_regions[number]
        for index in nms(boxes, scores, 0.3):
            if scores[index] > 0:
                draw_box(each, boxes[index], "tab:orange", f"{name} {scores[index]:.1f}")
finish("4_detections")

# %% [markdown]
# **What came after.** R-CNN runs the network once per region. Fast R-CNN and R-FCN run it once per *photo*, and pool
# the features of each region from the result; this library's detector is an R-FCN. It sees the whole photo at a higher
# resolution than our crops and scores hundreds of regions, in the time below.

# %%
model = detector.load_detector()
model(PHOTOS / "cat.jpg")  # the first call prepares the network
start = time.perf_counter()
for pixels, _, _ in test:
    model(pixels, channels="RGB")
print(f"one pass for all regions: {(time.perf_counter() - start) / len(test):.2f} s a scene")
print(f"a pass for each region:   {crop_seconds:.2f} s a scene, with crops of only {CROPS.size} pixels")

# %% [markdown]
# **To discuss.** (a) Try thresholds of 0.1, 0.5 and 0.9 in NMS. Which errors do low and high ones make? (b) Two cats
# that overlap by 0.4: what does NMS do? (c) AP needs all detections, down to very low scores, while the figures show
# the positive ones. Why does AP not suffer from the false positives at the end of the list? (d) R-CNN also corrects
# the boxes with a regression (appendix C). Which of the mistakes in the last figure would it repair?
