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
# In this course you write these steps yourself. There are four parts of 60 to 90 minutes, a notebook each. They can be
# done in any order: where a part needs the result of an earlier one, it takes it from the library.
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
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import proposals
from proposals.color import color_planes
from proposals.drawing import draw_segmentation
from proposals.features import feature_bins
from proposals.grouping import group
from proposals.hierarchy import Hierarchy
from proposals.regions import measure_regions
from proposals.segmentation import segment, sorted_edges

sys.path.append(str(Path(proposals.__file__).parents[1] / "tools/notebooks"))  # of the checkout
from rcnn_course import astronaut, finish

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
