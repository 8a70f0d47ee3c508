"""Which detections find an object: PASCAL VOC's rule of the development kit (VOCevaldet.m)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.detections import Detections
from detector.errors import InputError

_FloatArray = npt.NDArray[np.float64]
_IntArray = npt.NDArray[np.int64]
_BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of all images from the highest score to the lowest, each judged.

    Equal scores keep the order of the images and, within an image, of its detections. Detections that took a
    difficult object are not among them: they count neither way.

    Attributes:
        labels: (D,) int64, index into the class names that were judged by.
        scores: (D,) float32.
        true_positive: (D,) bool; everything else is a false positive.
        objects: (C,) int64, objects of each class that are not difficult.
    """

    labels: _IntArray
    scores: npt.NDArray[np.float32]
    true_positive: _BoolArray
    objects: _IntArray


def match_detections(
    annotations: Sequence[Annotations],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    iou_threshold: float = 0.5,
) -> Matches:
    """Judge the detections of every image against its annotated objects.

    A detection takes the object of its class and image with the highest IoU (the first of equal ones), if
    that IoU reaches `iou_threshold`. Where the object is difficult, the detection counts neither way.
    Otherwise the first detection in order of score that takes an object is a true positive and each later
    one a false positive, even if another object was free.

    VOC measures IoU on inclusive boxes, with a width of xmax - xmin + 1. Boxes here have an exclusive right
    and bottom, x1 = xmin - 1 and x2 = xmax, so that x2 - x1 is that same width, and the intersection is the
    same too: no pixel is added, and the IoU is VOC's to the last bit. Boxes of any other source have to be
    brought to this convention where they are read.

    Args:
        annotations: the objects of each image; labels index into `class_names`.
        detections: the detections of each image, in the same order. Their labels are matched to `class_names`
            by name; detections of other classes are left out.
        class_names: the classes to judge.
        iou_threshold: IoU from which a detection finds an object, above 0 and at most 1.

    Raises:
        InputError: the threshold is out of range, the numbers of images differ, or an object's label is none
            of the classes.
    """
    if not 0 < iou_threshold <= 1:
        raise InputError(f"IoU threshold {iou_threshold} is not above 0 and at most 1")
    if len(annotations) != len(detections):
        raise InputError(f"annotations of {len(annotations)} images, but detections of {len(detections)}")
    classes = len(class_names)
    object_boxes = _joined([a.boxes for a in annotations], (0, 4), np.float64)
    object_labels = _joined([a.labels for a in annotations], (0,), np.int64)
    if object_labels.size and object_labels.max() >= classes:
        raise InputError(f"an object has the label {object_labels.max()}, but there are {classes} classes")
    difficult = _joined([a.difficult for a in annotations], (0,), np.bool_)
    object_groups = _image_numbers(annotations) * classes + object_labels
    order = np.argsort(object_groups, kind="stable")
    object_boxes, difficult, object_groups = object_boxes[order], difficult[order], object_groups[order]

    boxes = _joined([d.boxes for d in detections], (0, 4), np.float64)
    scores = _joined([d.scores for d in detections], (0,), np.float32)
    labels = _joined([_labels_in(d, class_names) for d in detections], (0,), np.int64)
    groups = _image_numbers(detections) * classes + labels
    ranked = np.argsort(-scores, kind="stable")
    ranked = ranked[labels[ranked] >= 0]
    boxes, scores, labels, groups = boxes[ranked], scores[ranked], labels[ranked], groups[ranked]

    best, overlap = _best_objects(boxes, groups, object_boxes, object_groups)
    taken = np.where(overlap >= iou_threshold, best, -1)
    finds = np.flatnonzero(taken >= 0)
    _, first = np.unique(taken[finds], return_index=True)
    true_positive = np.zeros(len(boxes), dtype=bool)
    true_positive[finds[first]] = True
    counts = np.ones(len(boxes), dtype=bool)
    counts[finds] = ~difficult[taken[finds]]
    objects = np.bincount(object_groups[~difficult] % classes, minlength=classes)
    return Matches(labels[counts], scores[counts], true_positive[counts], objects.astype(np.int64))


def _joined(arrays: list[np.ndarray], empty_shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    return np.concatenate([np.zeros(empty_shape), *arrays]).astype(dtype)


def _image_numbers(images: Sequence[Annotations] | Sequence[Detections]) -> _IntArray:
    return np.repeat(np.arange(len(images)), [len(image) for image in images])


def _labels_in(detections: Detections, class_names: Sequence[str]) -> _IntArray:
    """The labels as indices into `class_names`, -1 for a class that is not among them."""
    index = {name: label for label, name in enumerate(class_names)}
    lookup = np.array([index.get(name, -1) for name in detections.class_names], dtype=np.int64)
    return lookup[detections.labels]


def _best_objects(
    boxes: _FloatArray, groups: _IntArray, object_boxes: _FloatArray, object_groups: _IntArray
) -> tuple[_IntArray, _FloatArray]:
    """For each box, the object of its group with the highest IoU, and that IoU; -1 and 0 if there is none.

    The objects are sorted by group.
    """
    start = np.searchsorted(object_groups, groups, side="left")
    count = np.searchsorted(object_groups, groups, side="right") - start
    # All pairs of a box and an object of its group, box by box.
    pair_box = np.repeat(np.arange(len(boxes)), count)
    pair_object = np.arange(len(pair_box)) + np.repeat(start - (np.cumsum(count) - count), count)
    overlap = _paired_iou(boxes[pair_box], object_boxes[pair_object])
    # Stable, so that the first of equally good objects is taken.
    order = np.lexsort((-overlap, pair_box))
    with_object, first = np.unique(pair_box[order], return_index=True)
    best = np.full(len(boxes), -1, dtype=np.int64)
    best_overlap = np.zeros(len(boxes))
    best[with_object] = pair_object[order[first]]
    best_overlap[with_object] = overlap[order[first]]
    return best, best_overlap


def _paired_iou(a: _FloatArray, b: _FloatArray) -> _FloatArray:
    """IoU of a[i] and b[i], boxes x1, y1, x2, y2 with exclusive right and bottom."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    intersection = np.prod(np.maximum(sides, 0), axis=1)
    areas = np.prod(a[:, 2:] - a[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1)
    return intersection / (areas - intersection)
