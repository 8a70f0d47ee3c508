# %% [markdown]
# # Part 3: From regions to classes
#
# R-CNN's insight (section 2.1): the features that a convolutional network learns for ImageNet's classification also
# describe the content of a *box*, if the box is warped to the size of the network's input.
#
# Two photos cannot train a classifier, so `rcnn_scenes.py` makes scenes: heads and the helmet, cut out of the photos,
# turned, mirrored and resized, in front of colored clutter, beside pieces of fur, suit and shuttle that are no
# objects. **This is a toy**: training and test scenes show the same cat. It is enough to see each step work, but its
# numbers say nothing about cats in general.
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
from sklearn.svm import LinearSVC

import proposals
from detector.config import CropConfig
from detector.ops.crops import crop_windows, warp_windows
from detector.training.rcnn_heads import mine_svm
from detector.training.targets import match_regions
from proposals.evaluation import iou_matrix

sys.path.append(str(Path(proposals.__file__).parents[1] / "tools/notebooks"))  # of the checkout
from rcnn_course import draw_box, finish
from rcnn_scenes import NAMES, SETTINGS, SIZE, describe, few, test, train

# %%
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
# paper does (`describe` in `rcnn_scenes.py`). Each region passes the network by itself. Note the time it takes: you
# will meet it again in part 4.

# %%
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
