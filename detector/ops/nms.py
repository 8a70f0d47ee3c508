"""Non-maximum suppression, and torchvision's compiled operators, loaded without importing the package.

Importing all of torchvision takes two seconds, more than everything else together except torch itself.
"""

import functools
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

# Names of the library: since torchvision 0.29, and before.
_LIBRARIES = ("_C_stable", "_C")


@functools.cache
def torchvision_operators() -> Any:
    """`torch.ops.torchvision`, with its library loaded.

    The name of the library is private to torchvision. Under another name, or if it does not load, the whole package
    is imported.
    """
    package = find_spec("torchvision")
    folders = package.submodule_search_locations if package else None
    library = next(filter(None, (PathFinder.find_spec(name, folders) for name in _LIBRARIES)), None)
    if library is not None and library.origin is not None:
        with suppress(OSError):
            torch.ops.load_library(library.origin)
    if not all(hasattr(torch.ops.torchvision, name) for name in ("nms", "roi_align")):
        import torchvision  # noqa: F401
    return torch.ops.torchvision


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """NMS within each class.

    Args:
        boxes: (N, 4) xyxy, not negative.
        scores: (N,).
        labels: (N,) int64.
        iou: a box is suppressed if a better box of its class overlaps it by more than this.

    Returns:
        Indices of the kept boxes, best first.
    """
    if len(boxes) == 0:
        return labels.new_zeros(0)
    # Shift the boxes of each class apart, so that classes do not interact.
    shifts = labels.to(boxes.dtype) * (boxes.max() + 1)
    return torchvision_operators().nms(boxes + shifts[:, None], scores, iou)
