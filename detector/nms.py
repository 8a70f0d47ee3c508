"""Non-maximum suppression by torchvision's operator.

Only torchvision's compiled library is loaded: importing the package as a whole takes two seconds, more than
everything else together but torch itself.
"""

import functools
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Indices, best first, of the boxes that no better box of the same class overlaps by more than `iou`.

    Args:
        boxes: (N, 4) xyxy, not negative; scores: (N,); labels: (N,) int64.
    """
    _load_operators()
    if len(boxes) == 0:
        return labels.new_zeros(0)
    # boxes of different classes are moved apart, so that they do not meet
    shifts = labels.to(boxes.dtype) * (boxes.max() + 1)
    return torch.ops.torchvision.nms(boxes + shifts[:, None], scores, iou)


@functools.cache
def _load_operators() -> None:
    spec = find_spec("torchvision")
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    libraries = [] if folder is None else [p for p in folder.glob("_C*") if p.suffix in (".so", ".pyd", ".dylib")]
    if libraries and not hasattr(torch.ops.torchvision, "nms"):
        torch.ops.load_library(str(libraries[0]))
    if not hasattr(torch.ops.torchvision, "nms"):  # packaged in another way
        import torchvision  # noqa: F401
