"""The objects of images in parts of their sides, as MultiBox learns them."""

import numpy as np
from torch import Tensor

from detector.data.voc import VOCDataset
from proposals.multibox.loss import MultiBoxObjects


def relative_objects(boxes: Tensor, difficult: Tensor, width: int, height: int) -> MultiBoxObjects:
    """The objects of an image: boxes (G, 4) in its pixels, difficult (G,) bool."""
    return MultiBoxObjects(boxes / boxes.new_tensor((width, height, width, height)), difficult)


def clear_boxes(dataset: VOCDataset) -> np.ndarray:
    """(N, 4) float32: boxes of all objects of a data set that are not difficult, in parts of their image's sides.

    Raises:
        InputError: an annotation is missing or wrong.
    """
    parts: list[np.ndarray] = [np.zeros((0, 4), np.float32)]
    for index in range(len(dataset)):
        annotations = dataset.annotations(index)
        width, height = annotations.image_size
        boxes = annotations.boxes[~annotations.difficult]
        parts.append(boxes / np.array((width, height, width, height), np.float32))
    return np.concatenate(parts)
