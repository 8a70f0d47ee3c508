# %% [markdown]
# # Part 2: Are the proposals good?
#
# No proposal, no detection: an object that no box covers is lost for the rest of the pipeline. The paper therefore
# measures proposals by themselves (section 5), before any classifier sees them. Here are the two photos with objects
# that we annotated for this course.
#
# How an exercise works and what its boxes mean is explained at the top of `rcnn_1_selective_search.ipynb`. This part
# needs nothing else from the others.

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import proposals
from proposals import ProposalEvaluation, SelectiveSearch, SelectiveSearchConfig
from proposals.evaluation import iou_matrix

sys.path.append(str(Path(proposals.__file__).parents[1] / "tools/notebooks"))  # of the checkout
from rcnn_course import astronaut, cat, draw_box, finish

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
