# %% [markdown]
# # Part 4: From scores to detections
#
# This part starts with classifiers that the library trained on the regions of part 3, one per class: `rcnn_scenes.py`
# makes small scenes with cats, people and helmets, describes their regions by GoogLeNet's features, and trains. For
# each test scene there are regions and, for each class, scores.
#
# How an exercise works and what its boxes mean is explained at the top of `rcnn_1_selective_search.ipynb`. This part
# needs nothing else from the others.

# %%
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import detector
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.voc import average_precision, match_voc, voc_average_precision
from detector.ops.nms import class_nms
from proposals.evaluation import iou_matrix

sys.path.append(str(Path(detector.__file__).parents[1] / "tools/notebooks"))  # of the checkout
from rcnn_course import PHOTOS, draw_box, finish
from rcnn_scenes import CROPS, NAMES, describe, few, test, train_classifiers

# %%
weights, biases = train_classifiers()
test_regions = [few(pixels).boxes.astype(float) for pixels, _, _ in test]
start = time.perf_counter()
test_features = [describe(scene[0], boxes) for scene, boxes in zip(test, test_regions, strict=True)]
crop_seconds = (time.perf_counter() - start) / len(test)
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
